"""The whole view of `mlxctl top`, from what the daemon says and the size of the terminal."""

import textwrap
from collections.abc import Sequence

from rich.text import Text

from mlxctl.commands.loading import present
from mlxctl.terminal import duration
from mlxctl.top.figures import count, one_line
from mlxctl.top.overview import Overview
from mlxctl.top.plots import Plot, plots
from mlxctl.top.tables import model_lines, pull_lines, request_lines
from mlxd.control_api import Status

_GAP = "  "
_PLOT_WIDTH = 39  # of its title and the 24 steps of two minutes
_TITLE_WIDTH = 15
_MOST_IN_A_ROW = 4
_TALL = 40  # lines of a terminal with room for taller plots
_REQUESTS = 3  # that have a place before the plots
_WITHOUT_END = 10
_PERIODS = {False: "last 2 minutes", True: "last hour"}


def draw(overview: Overview, width: int, height: int, *, hour: bool = False) -> list[Text]:
    """Return `height` lines of at most `width` columns; the last one has totals and the keys.

    `hour` tells that the history is that of the last hour.
    """
    room = height - 2
    models = _models(overview, width, max(room // 4, 1))
    pulls = _pulls(overview, width, max(room // 6, 1))
    room -= len(models) + len(pulls)
    least = _REQUESTS + 2 if overview.activity.requests else 0
    shown = _plots(overview, width, room - least, 4 if height >= _TALL else 2)
    requests = _requests(overview, width, room - len(shown) - 2)
    body = [_header(overview.status, _PERIODS[hour], width), *shown, *models, *pulls, *requests]
    body = [*body, *[Text()] * height][: height - 1]
    return [*body, _footer(overview, width, f"q quit  h {_PERIODS[not hour]}")]


def draw_once(overview: Overview, width: int) -> list[Text]:
    """Return all plots, models and downloads, and the last requests, in as many lines as needed."""
    everything = len(overview.status.models) * 2 + len(overview.pulls)
    return [
        _header(overview.status, _PERIODS[False], width),
        *_plots(overview, width, 2 * len(plots(overview)), 2),
        *_models(overview, width, everything),
        *_pulls(overview, width, everything),
        *_requests(overview, width, _WITHOUT_END),
        Text(),
        _footer(overview, width, ""),
    ]


def draw_fault(message: str, width: int, height: int) -> list[Text]:
    """Return `height` lines that say why there is nothing to show, and the keys."""
    lines = [Text(line, "yellow") for line in textwrap.wrap(one_line(message), width)]
    body = [*lines, *[Text()] * height][: height - 1]
    return [*body, _at_both_ends([], Text("q quit", "dim"), width)]


def _header(status: Status, period: str, width: int) -> Text:
    daemon = Text(f"mlxd {status.version}", "bold")
    if status.stopping:
        daemon.append(" is stopping", "yellow")
    up = Text(f"for {duration(status.uptime_s or 0)}")
    return _at_both_ends([daemon, up, Text(status.url or "")], Text(period, "dim"), width)


def _footer(overview: Overview, width: int, keys: str) -> Text:
    activity = overview.activity
    totals = [
        f"requests {count(activity.requests_total)}",
        f"failed {count(activity.failed_total)}",
        f"tokens generated {count(activity.generated_total)}",
    ]
    return _at_both_ends([Text(text, "dim") for text in totals], Text(keys, "dim"), width)


def _plots(overview: Overview, width: int, room: int, rows: int) -> list[Text]:
    """Return as many plots as fit into `room` lines, side by side where they fit."""
    in_a_row = min(max((width + len(_GAP)) // (_PLOT_WIDTH + len(_GAP)), 1), _MOST_IN_A_ROW)
    column = (width - len(_GAP) * (in_a_row - 1)) // in_a_row
    everything = plots(overview)
    lines = []
    for first in range(0, min(len(everything), max(room // rows, 1) * in_a_row), in_a_row):
        beside = [_plot(plot, column, rows) for plot in everything[first : first + in_a_row]]
        lines += [_joined(parts) for parts in zip(*beside, strict=True)]
    return lines


def _plot(plot: Plot, width: int, rows: int) -> list[Text]:
    """Return a plot: its title and its figure at the left, the bars beside them."""
    titles = [Text(plot.title), Text(plot.now, "bold"), *[Text()] * (rows - 2)]
    lines = []
    for title, bars in zip(titles, plot.bars(max(width - _TITLE_WIDTH, 0), rows), strict=True):
        line = title.copy()
        line.align("left", min(_TITLE_WIDTH, width))
        line.append(bars, plot.style)
        lines.append(line)
    return lines


def _models(overview: Overview, width: int, rows: int) -> list[Text]:
    status = overview.status
    if models := present(status.models):
        return [Text(), *model_lines(models, width, rows)]
    default = f"; the default is {status.default_model}" if status.default_model else ""
    nothing = Text(one_line(f"no model in memory{default}"))
    nothing.truncate(width, overflow="ellipsis")
    return [Text(), nothing]


def _pulls(overview: Overview, width: int, rows: int) -> list[Text]:
    return [Text(), *pull_lines(overview.pulls, width, rows)] if overview.pulls else []


def _requests(overview: Overview, width: int, rows: int) -> list[Text]:
    requests = overview.activity.requests
    return [Text(), *request_lines(requests, width, rows)] if requests and rows > 0 else []


def _at_both_ends(left: Sequence[Text], right: Text, width: int) -> Text:
    """Return a line with `right` at its end, after the parts of `left` that fit."""
    parts = list(left)
    while parts and _joined([*parts, right]).cell_len > width:
        parts.pop()
    line = _joined(parts)
    line.append(" " * (width - line.cell_len - right.cell_len))
    line.append_text(right)
    line.truncate(width)
    return line


def _joined(parts: Sequence[Text]) -> Text:
    return Text(_GAP).join(parts)
