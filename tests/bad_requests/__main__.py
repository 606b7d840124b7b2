"""The command: send so many bad requests, or one of them again."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.bad_requests.attack import attacked
from tests.bad_requests.case import load
from tests.bad_requests.drawing import drawn, kinds
from tests.bad_requests.sending import send, shown

_ROUND = 1000
_ALONE_SECONDS = 15.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bad_requests", description="Send bad requests to a daemon."
    )
    parser.add_argument("count", type=int, nargs="?", default=20_000, help="how many (20000)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (1)")
    parser.add_argument("--kind", choices=sorted(kinds()), help="only those of one kind")
    parser.add_argument("--round", type=int, default=_ROUND, help="how many between two looks")
    parser.add_argument("--faults", type=Path, help="where to keep the cases that show a fault")
    parser.add_argument("--again", type=Path, metavar="CASE", help="send this case again")
    parser.add_argument("--list", action="store_true", help="print the cases, send nothing")
    options = parser.parse_args(arguments)
    faults = options.faults or Path(tempfile.mkdtemp(prefix="bad-requests-"))
    if options.again is not None:
        return _again(options.again, faults)
    rounds = range(-(-options.count // options.round))
    if options.list:
        for number in rounds:
            for case in drawn(options.round, options.seed * 1000 + number, options.kind):
                print(case.kind, "|", case.name, "|", case.size)
        return 0
    began = time.monotonic()
    with attacked(faults) as (attack, streams):
        attack.begin(streams, _ALONE_SECONDS)
        print(f"seed {options.seed}; good streams alone: {attack.summary.alone:.2f} s")
        for number in rounds:
            many = min(options.round, options.count - number * options.round)
            cases = drawn(many, options.seed * 1000 + number, options.kind)
            attack.round(streams, cases)
            summary = attack.summary
            seconds, silence = time.monotonic() - began, summary.beside
            sent, left = summary.sent, summary.held[-1]
            print(f"{sent} sent, {seconds:.0f} s, silence {silence:.2f} s; {left}", flush=True)
        summary = attack.end()
    print(summary.table())
    for fault in summary.faults:
        print(fault)
    return 1 if summary.faults else 0


def _again(file: Path, faults: Path) -> int:
    case = load(file)
    with attacked(faults) as (attack, _):
        outcome = asyncio.run(send(case, attack.port, attack.socket))
        print(shown(case, outcome))
        print(attack.log())
    return 1 if outcome.fault else 0


if __name__ == "__main__":
    sys.exit(main())
