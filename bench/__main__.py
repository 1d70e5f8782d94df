"""`./dev bench NAME [OPTIONS]`: exit 0 with the numbers, whatever they are; 1 when the ledger turned out wrong."""

import sys

from bench import importing, kill, ledger, pages, report, sending, workers

BENCHMARKS = {
    "sending": (sending.main, "a whole bulk send against a local relay, slow and instant"),
    "import": (importing.main, "a recipients file into the ledger"),
    "kill": (kill.main, "senders, database and connections die while it sends; exit 1 if anybody is lost or doubled"),
    "ledger": (ledger.main, "claim and record by the ledger alone, at 10,000 and a million rows"),
    "pages": (pages.main, "every page of the console with ten million recipients behind it"),
    "report": (report.main, "a report of the relay, typed and merged into the table that people query"),
    "workers": (workers.main, "one worker against four with clocks set apart, on one bulk send"),
}


def main(arguments: list[str]) -> int:
    name, *options = arguments or [""]
    if name in BENCHMARKS:
        return BENCHMARKS[name][0](options)
    for known, (_run, about) in BENCHMARKS.items():
        print(f"./dev bench {known:8} {about}", file=sys.stderr if name else sys.stdout)
    return 2 if name else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
