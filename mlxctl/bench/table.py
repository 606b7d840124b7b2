"""A benchmark's figures in a terminal: tables, and bars as a plot."""

import sys
from collections.abc import Iterable, Iterator, Sequence

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from mlxctl.bench.figures import BenchReport, PromptReuse, Throughput
from mlxctl.terminal import is_screen
from mlxd.units import size

_PLAIN_WIDTH = 100  # where no terminal has one
_BAR_WIDTH = 40
_COLORS = ("green", "blue")  # mlxd, and the other server
_STATES = ("cold", "warm", "disk")


def tables(report: BenchReport) -> str:
    """Return all of a report as text, in color if standard output is a screen."""
    screen = is_screen(sys.stdout)
    console = Console(
        force_terminal=screen, width=None if screen else _PLAIN_WIDTH, highlight=False
    )
    with console.capture() as captured:
        console.print(Text(_headline(report)))
        for section in _sections(report):
            console.print()
            console.print(section)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _headline(report: BenchReport) -> str:
    servers = report.servers
    words = f"{report.model} on mlxd {report.version or ''}".rstrip()
    if len(servers) > 1:
        words += f", beside {servers[1].model} on {servers[1].url}"
    rounds = max((row.rounds for row in report.throughput), default=0)
    many = "1 round" if rounds == 1 else f"{rounds} rounds"
    return (
        f"{words}\n{report.machine}\n"
        f"answers of {report.answer_tokens} tokens, {many} in {report.seconds:.0f} s"
    )


def _sections(report: BenchReport) -> Iterator[RenderableType]:
    several = len(report.servers) > 1
    yield _throughput(report.throughput, several=several)
    yield _bars(report, several=several)
    if any(row.state != "cold" for row in report.prompt_cache):
        yield _prompt_cache(report.prompt_cache, several=several)
    if report.against:
        yield _against(report)
    if report.memory is not None:
        yield Text("\n".join(_memory(report)))
    if report.left_out:
        yield Text("\n".join(f"not measured: {line}" for line in report.left_out))


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "SERVER" else "right", no_wrap=True)
    return table


def _throughput(rows: Iterable[Throughput], *, several: bool) -> Table:
    server = ["SERVER"] if several else []
    headings = ("FIRST TOKEN", "SLOWEST", "PROMPT TOK/S", "STREAM TOK/S", "TOK/S")
    table = _table("PROMPT", "STREAMS", *server, *headings)
    before = None
    for row in rows:
        step = (row.prompt, row.streams)
        table.add_row(
            *(["", ""] if step == before else [f"{row.prompt:,}", str(row.streams)]),
            *([row.server] if several else []),
            seconds(row.first_token_s),
            seconds(row.first_token_max_s),
            _rate(row.prompt_tokens_per_second),
            "-" if row.stream_tokens_per_second is None else _rate(row.stream_tokens_per_second),
            _rate(row.tokens_per_second),
        )
        before = step
    return table


def _bars(report: BenchReport, *, several: bool) -> Table:
    """Return the tokens a second as bars, one for each row of the first table."""
    most = max(row.tokens_per_second for row in report.throughput)
    colors = dict(zip((server.name for server in report.servers), _COLORS, strict=False))
    table = _table("PROMPT", "STREAMS", *(["SERVER"] if several else []))
    table.add_column("TOK/S")
    before = None
    for row in report.throughput:
        step = (row.prompt, row.streams)
        table.add_row(
            *(["", ""] if step == before else [f"{row.prompt:,}", str(row.streams)]),
            *([row.server] if several else []),
            Bar(most, 0, row.tokens_per_second, width=_BAR_WIDTH, color=colors[row.server]),
        )
        before = step
    return table


def _prompt_cache(rows: Sequence[PromptReuse], *, several: bool) -> Group:
    table = _table(
        "PROMPT", *(["SERVER"] if several else []), "COLD", "WARM", "CACHED", "DISK", "CACHED"
    )
    found = {(row.prompt, row.server, row.state): row for row in rows}
    for prompt, server in dict.fromkeys((row.prompt, row.server) for row in rows):
        cold, warm, disk = (found.get((prompt, server, state)) for state in _STATES)
        table.add_row(
            f"{prompt:,}",
            *([server] if several else []),
            seconds(cold.first_token_s) if cold else "-",
            *_reused(warm),
            *_reused(disk),
        )
    return Group(Text("time to first token by where the beginning of the prompt was"), table)


def _reused(row: PromptReuse | None) -> tuple[str, str]:
    if row is None:
        return "-", "-"
    cached = "?" if row.cached_tokens is None else f"{row.cached_tokens:,}"
    return seconds(row.first_token_s), f"{cached} of {row.prompt_tokens:,}"


def _against(report: BenchReport) -> Group:
    own, other = report.servers
    table = _table("PROMPT", "STREAMS", "FIRST TOKEN", "TOK/S")
    for row in report.against:
        ratios = (f"{ratio:.2f}" for ratio in (row.first_token, row.tokens_per_second))
        table.add_row(f"{row.prompt:,}", str(row.streams), *ratios)
    return Group(Text(f"{own.name} / {other.name}: how many times as soon, and as fast"), table)


def _memory(report: BenchReport) -> Iterator[str]:
    if (memory := report.memory) is not None:
        limit = "" if memory.limit_bytes is None else f" of {size(memory.limit_bytes)}"
        yield (
            f"memory: {size(memory.ready_bytes)} when ready, at most {size(memory.peak_bytes)}"
            f"{limit}, prompt cache {size(memory.prompt_cache_bytes)}"
        )


def seconds(value: float) -> str:
    """Return a time as text with three digits, such as "8.31 ms", "142 ms" or "2.50 s"."""
    value, unit = (value * 1000, "ms") if value < 0.9995 else (value, "s")
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
