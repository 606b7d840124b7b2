"""The tables at the end of a soak, and what was wrong in it."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from tests.soak.client import ANSWERED, EXPLAINED, LEFT, WRONG, Outcome
from tests.soak.growth import Growth

_KINDS = (ANSWERED, EXPLAINED, LEFT, WRONG)
_MOST_SHOWN = 20


def show(
    outcomes: Sequence[Outcome], disturbances: Mapping[str, int], growth: Sequence[Growth]
) -> None:
    """Print the tables."""
    print(f"\n{'requests':<18}" + "".join(f"{kind:>17}" for kind in _KINDS), end="")
    print(f"{'first p50':>11}{'p99':>8}{'whole p50':>11}{'p99':>8}")
    for dialect in [*sorted({each.ask.dialect for each in outcomes}), ""]:
        _show_row(
            dialect or "all", [each for each in outcomes if dialect in ("", each.ask.dialect)]
        )
    print("\nexplained errors")
    errors = Counter(_kind_of(each.what) for each in outcomes if each.kind == EXPLAINED)
    for what, count in errors.most_common():
        print(f"{count:>8}  {what}")
    print("\ndisturbances")
    for what, count in sorted(disturbances.items()):
        print(f"{count:>8}  {what}")
    print(f"\n{'held':<22}{'first half':>12}{'second half':>13}")
    for row in growth:
        mark = "  GROWS" if row.grown else ""
        print(f"{row.name:<22}{row.first:>12.1f}{row.second:>13.1f}{mark}")


def faults(outcomes: Sequence[Outcome], growth: Sequence[Growth]) -> list[str]:
    """Return what was wrong, a line each."""
    wrong = Counter(
        f"{each.ask.dialect}{' stream' if each.ask.stream else ''}: {each.what}"
        for each in outcomes
        if each.kind == WRONG
    )
    found = [f"{count} × {what}" for what, count in wrong.most_common(_MOST_SHOWN)]
    found += [
        f"{row.name}: from {row.first:.1f} to {row.second:.1f}" for row in growth if row.grown
    ]
    if not any(each.kind == ANSWERED for each in outcomes):
        found.append("no request was answered")
    return found


def _show_row(name: str, rows: Sequence[Outcome]) -> None:
    counts = Counter(each.kind for each in rows)
    answered = [each for each in rows if each.kind == ANSWERED]
    firsts = [each.first for each in answered if each.first is not None]
    print(f"{name:<18}" + "".join(f"{counts[kind]:>17}" for kind in _KINDS), end="")
    for times, width in ((firsts, 11), ([each.total for each in answered], 11)):
        print(f"{_percentile(times, 50):>{width}.2f}{_percentile(times, 99):>8.2f}", end="")
    print()


def _percentile(times: Sequence[float], percent: int) -> float:
    if len(times) < 2:
        return times[0] if times else 0.0
    return statistics.quantiles(times, n=100, method="inclusive")[percent - 1]


def _kind_of(what: str) -> str:
    """Leave out what differs between two errors of a kind."""
    return "".join("#" if character.isdigit() else character for character in what)[:100]
