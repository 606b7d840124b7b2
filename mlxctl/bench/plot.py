"""A benchmark's figures as a picture: PNG or SVG, with matplotlib, which is slow to import."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from mlxctl.bench.figures import BenchReport, PromptReuse, Throughput

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (10.0, 4.8)  # inches
_DOTS = 160
_COLORS = ("#0b7a75", "#d1495b", "#edae49", "#30638e", "#6c5b7b")
_LINES = ("-", "--")  # mlxd, and the other server
_STATES = {"cold": ("new", "o"), "warm": ("in memory", "s"), "disk": ("on disk", "^")}


def save(report: BenchReport, file: Path) -> None:
    """Write a plot into `file`, in the format that its name ends with.

    Raises:
        OSError: it cannot be written.
    """
    # Text stays text in an SVG; equal figures make an equal file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "mlxd", "font.size": 9}):
        figure = Figure(figsize=_SIZE, dpi=_DOTS, layout="constrained")
        FigureCanvasAgg(figure)
        first, rate = figure.subplots(1, 2)
        lines = {server.name: line for server, line in zip(report.servers, _LINES, strict=False)}
        _first_tokens(first, report.prompt_cache, lines)
        _rates(rate, report.throughput, lines)
        figure.suptitle(_title(report))
        date = {"Date": None} if file.suffix.lower() == ".svg" else None
        figure.savefig(file, metadata=date)


def _title(report: BenchReport) -> str:
    beside = "".join(f", beside {server.name}" for server in report.servers[1:])
    return f"{report.model} on mlxd{beside} ({report.machine})"


def _first_tokens(axes: "Axes", rows: Iterable[PromptReuse], lines: dict[str, str]) -> None:
    """Draw the time to the first token over the prompt length, by where the prompt was."""
    by_line: dict[tuple[str, str], list[PromptReuse]] = {}
    for row in rows:
        by_line.setdefault((row.server, row.state), []).append(row)
    for (server, state), own in by_line.items():
        words, marker = _STATES[state]
        axes.plot(
            [row.prompt for row in own],
            [1000 * row.first_token_s for row in own],
            lines[server],
            marker=marker,
            color=_COLORS[list(_STATES).index(state)],
            label=f"{server}, {words}" if len(lines) > 1 else words,
        )
    axes.set(title="time to first token, one stream", xlabel="prompt tokens", ylabel="ms")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    _finish(axes, sorted({row.prompt for own in by_line.values() for row in own}))


def _rates(axes: "Axes", rows: Iterable[Throughput], lines: dict[str, str]) -> None:
    """Draw the tokens a second over the number of streams, a line for each prompt length."""
    by_line: dict[tuple[str, int], list[Throughput]] = {}
    for row in rows:
        by_line.setdefault((row.server, row.prompt), []).append(row)
    prompts = sorted({prompt for _, prompt in by_line})
    for (server, prompt), own in by_line.items():
        words = f"prompts of {prompt:,}"
        axes.plot(
            [row.streams for row in own],
            [row.tokens_per_second for row in own],
            lines[server],
            marker="o",
            color=_COLORS[prompts.index(prompt) % len(_COLORS)],
            label=f"{server}, {words}" if len(lines) > 1 else words,
        )
    axes.set(title="tokens a second, all streams together", xlabel="streams", ylabel="tokens/s")
    axes.set_ylim(bottom=0)
    _finish(axes, sorted({row.streams for own in by_line.values() for row in own}))


def _finish(axes: "Axes", ticks: list[int]) -> None:
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(visible=True, alpha=0.3)
    if axes.lines:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, ncols=2)
