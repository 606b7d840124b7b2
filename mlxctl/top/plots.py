"""The plots of `mlxctl top`: eight figures over time, each as bars of block characters."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlxctl.top.figures import UNKNOWN, count, seconds, share, speed
from mlxctl.top.overview import Overview
from mlxd.units import size

_BLOCKS = " ▁▂▃▄▅▆▇█"
_LEVELS = len(_BLOCKS) - 1

Values = Sequence[float | None]


@dataclass(frozen=True)
class Plot:
    """A figure with its `title`, what it is `now` as text, and its `values`, oldest first.

    A value of `full` is a bar of full height; without it, the largest value is. There is no bar
    where a value is None.
    """

    title: str
    now: str
    values: Values
    style: str
    full: float | None = None

    def bars(self, columns: int, rows: int) -> list[str]:
        """Return the bars as `rows` lines of `columns` characters, the newest at the right."""
        values = fitted(self.values, columns)
        full = self.full or max((value for value in values if value), default=1.0)
        levels = [_level(value, full, rows * _LEVELS) for value in values]
        below = [_LEVELS * (rows - 1 - row) for row in range(rows)]
        return [
            "".join(_BLOCKS[min(max(level - base, 0), _LEVELS)] for level in levels)
            for base in below
        ]


def _level(value: float | None, full: float, levels: int) -> int:
    """Return the height of a bar in eighths of a line: 1 for a value of 0, 2 or more otherwise."""
    if value is None:
        return 0
    return max(min(round(value / full * levels), levels), 2 if value else 1)


def fitted(values: Values, columns: int) -> list[float | None]:
    """Return `columns` values: each repeated if there are few, or else the largest of each group.

    If they are too few for that, the left is filled with None.
    """
    if len(values) > columns > 0:
        edges = [index * len(values) // columns for index in range(columns + 1)]
        groups = [values[edges[index] : edges[index + 1]] for index in range(columns)]
        return [max((each for each in group if each is not None), default=None) for group in groups]
    times = columns // len(values) if values else 0
    repeated = [value for value in values for _ in range(times)]  # none where columns are 0
    return [*[None] * (columns - len(repeated)), *repeated]


def plots(overview: Overview) -> list[Plot]:
    """Return the plots, the most important ones first; two that belong together are neighbours."""
    activity, status = overview.activity, overview.status
    history = activity.history
    read, cached = history.prompt_tokens, history.cached_tokens
    limit = status.memory_limit_bytes
    memory = size(_last(history.memory_bytes))
    hits = [
        part / (part + rest) if part + rest else None
        for part, rest in zip(cached, read, strict=True)
    ]
    hit_rate = share(sum(cached), sum(cached) + sum(read))
    in_memory = size(_last(history.prompt_cache_bytes))
    return [
        Plot(
            "generated",
            f"{speed(activity.generated_per_second)} tok/s",
            _per_second(history.generated_tokens, history.step_s, activity.generated_per_second),
            "green",
        ),
        Plot("first token", _newest(history.first_token_s), history.first_token_s, "cyan"),
        Plot("running", count(activity.running), history.running, "green"),
        Plot("waiting", count(activity.waiting), history.waiting, "yellow"),
        Plot("prompt cache", f"{hit_rate}, {in_memory}", hits, "blue", 1.0),
        Plot(
            "memory",
            f"{memory}/{size(limit)}" if limit else memory,
            history.memory_bytes,
            "magenta",
            limit,
        ),
        Plot(
            "prompts read",
            f"{speed(activity.prompt_per_second)} tok/s",
            _per_second(read, history.step_s, activity.prompt_per_second),
            "blue",
        ),
        Plot("between tokens", _newest(history.inter_token_s), history.inter_token_s, "cyan"),
    ]


def _per_second(counts: Sequence[int], step: float, now: float) -> list[float]:
    """Return counts per second; the last step has not ended, so its speed is that of `now`."""
    return [*(each / step for each in counts[:-1]), now]


def _newest(values: Values) -> str:
    return next((seconds(value) for value in reversed(values) if value is not None), UNKNOWN)


def _last(values: Sequence[int]) -> int:
    return values[-1] if values else 0
