"""How figures and tables look to a person."""

import os
from collections.abc import Sequence

from mlxd.units import size

__all__ = ["count", "duration", "shown", "size", "table"]

_THOUSANDS = ("thousand", "million", "billion", "trillion")


def count(number: int) -> str:
    """Give a number of things as "115 thousand", "135 million" or "3.2 billion"."""
    if number < 1000:
        return str(number)
    value = float(number)
    for unit in _THOUSANDS:
        value /= 1000
        if value < 999.5 or unit == _THOUSANDS[-1]:
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def duration(seconds: float) -> str:
    """Give the two largest parts of a time: "4 s", "3 min 12 s", "2 h 5 min", "6 d 1 h"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def shown(path: str | os.PathLike[str]) -> str:
    """Give a path as a person writes it, from "~" on where it is in their home."""
    text, home = os.fspath(path), os.path.expanduser("~")
    return f"~{text.removeprefix(home)}" if text.startswith(f"{home}/") and home != "/" else text


def table(rows: Sequence[Sequence[str]]) -> str:
    """Give `rows`, all of the same length, as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
