#!/usr/bin/env python
"""Django's command line for this project."""

import json
import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from config.environment import EnvironmentProblem

    try:
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    except EnvironmentProblem as problem:
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps({"error": str(problem)}) + "\n")
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
