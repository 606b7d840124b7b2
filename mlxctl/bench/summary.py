"""From samples to figures: medians of the rounds, and the ratios of two servers."""

import statistics
from collections.abc import Iterator, Sequence

from mlxctl.bench.figures import Comparison, PromptReuse, Throughput
from mlxctl.bench.measure import COLD, DISK, WARM, Samples
from mlxctl.bench.runs import Run

_DIGITS = 4
_STATES = (COLD, WARM, DISK)


def throughput(samples: Samples, servers: Sequence[str]) -> list[Throughput]:
    """Return the figures of each prompt length, number of streams and server, in this order."""
    keys = sorted(samples.runs, key=lambda key: (key[1], key[2], servers.index(key[0])))
    return [_throughput(key, list(samples.runs[key].values())) for key in keys]


def prompt_cache(samples: Samples, servers: Sequence[str]) -> list[PromptReuse]:
    """Return the figures of each prompt length, server and state of the cache, in this order."""
    keys = sorted(
        samples.reuse,
        key=lambda key: (key[1], servers.index(key[0]), _STATES.index(key[2])),
    )
    return [_reuse(key, list(samples.reuse[key].values())) for key in keys]


def comparisons(samples: Samples, servers: Sequence[str]) -> list[Comparison]:
    """Return the ratios of the first of `servers` to the second, where both were measured."""
    if len(servers) == 1:
        return []
    own, other = servers
    steps = sorted(key[1:] for key in samples.runs if key[0] == own)
    return [
        Comparison(
            prompt=prompt,
            streams=streams,
            first_token=_median(
                statistics.median(theirs.first_text) / statistics.median(mine.first_text)
                for mine, theirs in pairs
            ),
            tokens_per_second=_median(mine.rate / theirs.rate for mine, theirs in pairs),
        )
        for prompt, streams in steps
        if (pairs := _pairs(samples, (own, prompt, streams), (other, prompt, streams)))
    ]


def short_answers(samples: Samples) -> Iterator[str]:
    """Yield the names of servers whose answers ended before they had the tokens asked for."""
    for name in dict.fromkeys(name for name, *_ in samples.runs):
        counts = [
            count
            for key, runs in samples.runs.items()
            if key[0] == name
            for run in runs.values()
            for count in run.completion_tokens
        ]
        if min(counts) < samples.tokens:
            yield name


def _pairs(
    samples: Samples, mine: tuple[str, int, int], theirs: tuple[str, int, int]
) -> list[tuple[Run, Run]]:
    """Return the runs of two servers that belong to the same round."""
    others = samples.runs.get(theirs, {})
    own = samples.runs[mine]
    return [(run, others[number]) for number, run in own.items() if number in others]


def _throughput(key: tuple[str, int, int], runs: Sequence[Run]) -> Throughput:
    server, prompt, streams = key
    speeds = [run.stream_rate for run in runs if run.stream_rate is not None]
    return Throughput(
        server=server,
        prompt=prompt,
        streams=streams,
        rounds=len(runs),
        prompt_tokens=_typical(count for run in runs for count in run.prompt_tokens),
        answer_tokens=_typical(count for run in runs for count in run.completion_tokens),
        first_token_s=_median(statistics.median(run.first_text) for run in runs),
        first_token_max_s=_median(max(run.first_text) for run in runs),
        prompt_tokens_per_second=_median(run.prompt_rate for run in runs),
        stream_tokens_per_second=_median(speeds) if speeds else None,
        tokens_per_second=_median(run.rate for run in runs),
    )


def _reuse(key: tuple[str, int, str], runs: Sequence[Run]) -> PromptReuse:
    server, prompt, state = key
    cached = [count for run in runs for count in run.cached_tokens if count is not None]
    return PromptReuse(
        server=server,
        prompt=prompt,
        state=state,
        rounds=len(runs),
        first_token_s=_median(run.first_text[0] for run in runs),
        prompt_tokens=_typical(count for run in runs for count in run.prompt_tokens),
        cached_tokens=_typical(cached) if cached else None,
    )


def _median(values: Iterator[float] | Sequence[float]) -> float:
    return float(f"{statistics.median(values):.{_DIGITS}g}")


def _typical(counts: Iterator[int] | Sequence[int]) -> int:
    return round(statistics.median(counts))
