"""Tables that fit a width: the least important columns go first, then long texts are cut."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.text import Text

_GAP = 2
_HEADER = "bold"

RowT = TypeVar("RowT")


@dataclass(frozen=True)
class Column(Generic[RowT]):
    """A column of at least `width` characters.

    `text` and `style` return what it shows of a row, and in which style. If the columns do not fit,
    the one with the highest `rank` is left out first. A column that `grows` is as wide as its
    longest text, if there is room; a name OWNER/NAME loses its owner before it is cut. Numbers are
    aligned to the `right`.
    """

    title: str
    width: int
    rank: int
    text: Callable[[RowT], str]
    style: Callable[[RowT], str] = lambda _row: ""
    grows: bool = False
    right: bool = False


def table(columns: Sequence[Column[RowT]], rows: Sequence[RowT], width: int) -> list[Text]:
    """Return a header and a line for each row, none wider than `width`."""
    chosen = _that_fit(columns, width)
    texts = {
        column.title: [Text(column.text(row), column.style(row)) for row in rows]
        for column in chosen
    }
    spare = width - _width(chosen)
    widths = {}
    for column in chosen:
        longest = max((text.cell_len for text in texts[column.title]), default=0)
        more = min(max(longest - column.width, 0), max(spare, 0)) if column.grows else 0
        spare -= more
        widths[column.title] = column.width + more
    lines = [_line(chosen, [Text(column.title, _HEADER) for column in chosen], widths, width)]
    for number in range(len(rows)):
        cells = [texts[column.title][number] for column in chosen]
        lines.append(_line(chosen, cells, widths, width))
    return lines


def _that_fit(columns: Sequence[Column[RowT]], width: int) -> list[Column[RowT]]:
    chosen = list(columns)
    while len(chosen) > 1 and _width(chosen) > width:
        chosen.remove(max(chosen, key=lambda column: column.rank))
    return chosen


def _width(columns: Sequence[Column[RowT]]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _line(
    columns: Sequence[Column[RowT]],
    cells: Sequence[Text],
    widths: dict[str, int],
    width: int,
) -> Text:
    line = Text()
    for column, cell in zip(columns, cells, strict=True):
        if line:
            line.append(" " * _GAP)
        cell = _cut(cell, widths[column.title])
        cell.align("right" if column.right else "left", widths[column.title])
        line.append_text(cell)
    line.truncate(width)
    return line


def _cut(cell: Text, width: int) -> Text:
    if cell.cell_len > width and "/" in cell.plain:
        cell = cell[cell.plain.rindex("/") + 1 :]
    cell.truncate(width, overflow="ellipsis")
    return cell
