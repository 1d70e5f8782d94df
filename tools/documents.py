"""Documents that do not lie: links and paths in them exist, and `.env.example` names every variable that is read."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from config.environment import Environment  # noqa: E402

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PATH_IN_CODE = re.compile(
    r"`((?:config|relay|relay_client|relay_sandbox|tests|tools|docs|demo|bench|locale)/[\w./-]*)`"
)


def main() -> int:
    problems = [*_broken_references(), *_undocumented_variables()]
    for problem in problems:
        print(f"documents: {problem}", file=sys.stderr)
    return bool(problems)


def _broken_references() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True
    )
    problems = []
    for name in listed.stdout.split():
        document = ROOT / name
        if not document.exists():
            continue
        text = document.read_text("utf-8")
        targets = [(document.parent / link, link) for link in LINK.findall(text) if "://" not in link]
        targets += [(ROOT / path, path) for path in PATH_IN_CODE.findall(text)]
        problems += [f"{name} names {said}, which does not exist" for target, said in targets if not target.exists()]
    return problems


def _undocumented_variables() -> list[str]:
    example = (ROOT / ".env.example").read_text("utf-8")
    documented = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", example, re.MULTILINE))
    read = {name.upper() for name in Environment.model_fields}
    return [f".env.example lacks {name}" for name in sorted(read - documented)] + [
        f".env.example names {name}, which nothing reads" for name in sorted(documented - read)
    ]


if __name__ == "__main__":
    sys.exit(main())
