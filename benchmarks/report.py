"""Turn samples into rows, and rows into a table; the rows are what `--json` writes.

A row maps a column's heading to its value; times are in milliseconds there, memory in megabytes.
"""

import statistics
from collections.abc import Sequence

from scenarios import Idle

from mlxctl.bench.runs import Run

Row = dict[str, str | float]
Tables = dict[str, list[Row]]
"""Tables by title."""


def milliseconds(seconds: Sequence[float], share: float = 0.5) -> float:
    """The quantile `share` of samples, nearest rank, in milliseconds; the median by default."""
    if share == 0.5:
        return round(1000 * statistics.median(seconds), 3)
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)


def throughput(runs: dict[str, dict[int, list[Run]]]) -> list[Row]:
    """A row for each number of streams and server; the samples of all rounds are pooled."""
    rows: list[Row] = []
    for streams in next(iter(runs.values())):
        for server, by_streams in runs.items():
            own = by_streams[streams]
            rates = [run.rate for run in own]
            first = [sample for run in own for sample in run.first_text]
            gaps = [sample for run in own for sample in run.gaps]
            rows.append(
                {
                    "server": server,
                    "streams": streams,
                    "tokens": statistics.median(sum(run.completion_tokens) for run in own),
                    "tok/s": statistics.median(rates),
                    "min": min(rates),
                    "max": max(rates),
                    "first token ms": milliseconds(first),
                    "p95 ms": milliseconds(first, 0.95),
                    "gap ms": milliseconds(gaps),
                    "p99 ms": milliseconds(gaps, 0.99),
                    "client CPU %": 100 * max(run.client_cpu for run in own),
                }
            )
    return rows


def throughput_ratios(runs: dict[str, dict[int, list[Run]]]) -> list[Row]:
    """mlxd over each other server: the median of the rounds' ratios."""
    rows: list[Row] = []
    for other in runs if "mlxd" in runs else ():
        if other == "mlxd":
            continue
        row: Row = {"throughput": f"mlxd / {other}"}
        for streams, own in runs["mlxd"].items():
            pairs = zip(own, runs[other][streams], strict=True)
            ratio = statistics.median(mine.rate / theirs.rate for mine, theirs in pairs)
            row[f"at {streams}"] = round(ratio, 2)
        rows.append(row)
    return rows


def join(samples: dict[str, list[float]]) -> list[Row]:
    """Time to first token of a request that joins running streams."""
    rows: list[Row] = [
        {
            "joining 8 streams": server,
            "first token ms": milliseconds(own),
            "max ms": milliseconds(own, 1.0),
        }
        for server, own in samples.items()
    ]
    if {"mlxd", "mlx_lm"} <= samples.keys():
        medians = {server: statistics.median(own) for server, own in samples.items()}
        for row in rows:
            server = str(row["joining 8 streams"])
            row["mlx_lm / this"] = medians["mlx_lm"] / medians[server]
    return rows


def second_turn(samples: dict[str, list[tuple[float, float]]]) -> list[Row]:
    """Time to first token of a cold first turn and of the turn that follows it."""
    rows: list[Row] = []
    for server, own in samples.items():
        cold, warm = ([pair[turn] for pair in own] for turn in (0, 1))
        rows.append(
            {
                "2,000-token history": server,
                "cold ms": milliseconds(cold),
                "second turn ms": milliseconds(warm),
                "cold / second": statistics.median(cold) / statistics.median(warm),
            }
        )
    return rows


def start(samples: dict[str, list[float]]) -> list[Row]:
    """Start of the process, without a model, to its first good /health."""
    return [
        {
            "start to /health": server,
            "median ms": milliseconds(own),
            "max ms": milliseconds(own, 1.0),
        }
        for server, own in samples.items()
    ]


def idle(samples: dict[str, Idle]) -> list[Row]:
    """Memory and wake-ups without a model."""
    return [
        {
            "idle, no model": server,
            "resident MB": own.resident_bytes / 1e6,
            "peak MB": own.peak_bytes / 1e6,
            "wake-ups/s": own.wakeups_per_second,
        }
        for server, own in samples.items()
    ]


def status(samples: list[float]) -> list[Row]:
    """Wall time of `mlxctl status`."""
    return [
        {
            "mlxctl": "status",
            "median ms": milliseconds(samples),
            "max ms": milliseconds(samples, 1.0),
        }
    ]


def kill(samples: list[tuple[float, float]]) -> list[Row]:
    """Time to an answer that must load the model, and to the next one after a `kill -9`."""
    load, again = ([pair[which] for pair in samples] for which in (0, 1))
    ratio = statistics.median(again) / statistics.median(load)
    return [
        {
            "engine": "mlxd",
            "load ms": milliseconds(load),
            "after kill -9 ms": milliseconds(again),
            "after / load": round(ratio, 2),
        }
    ]


def table(rows: Sequence[Row]) -> str:
    """Lay out rows of equal columns; the first column is text."""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in cells
    )


def markdown(rows: Sequence[Row]) -> str:
    """Write rows of equal columns as a table in Markdown; columns with numbers align right."""
    columns = zip(*(row.values() for row in rows), strict=True)
    aligned = ["---" if all(isinstance(v, str) for v in column) else "---:" for column in columns]
    lines = [list(rows[0]), aligned, *([_cell(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    if value >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
