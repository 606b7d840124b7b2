"""What a long prompt does to streams that run: 8 streams while one prompt of 6,000 tokens is read.

The gaps are those between two arrivals of text in a stream, as far as they fall into the time from
sending the long prompt to its first token; the long prompt's time is compared with that of another
of the same length alone.
"""

import itertools
import statistics
from dataclasses import dataclass

from bench import Bench
from models import Model
from prompts import Prompts
from report import Row, Tables, milliseconds
from servers import Start

from mlxctl.bench.streams import Stream
from mlxctl.errors import BenchmarkError

_STREAMS, _PROMPT_TOKENS, _ANSWER_TOKENS = 8, 48, 8
_STREAM_TOKENS = 16_000  # more than a stream gets meanwhile
_WARM_UP_SECONDS = 0.5


@dataclass(frozen=True)
class _Sample:
    """Times in seconds; `texts` is how many pieces of text all streams got meanwhile."""

    gaps: list[float]
    texts: int
    seconds: float
    alone_seconds: float


def measure(bench: Bench) -> Tables:
    """Run the streams and the long prompt with each server, in turns."""
    samples: dict[str, list[_Sample]] = {name: [] for name in bench.starts}
    for number in range(bench.options.rounds):
        for name, start in list(bench.starts.items()):
            bench.progress(f"long prompt: {name}, {number + 1}")
            with bench.tolerate(name):
                samples[name].append(_sample(start, bench.model, bench.options.long_tokens))
    rows: list[Row] = []
    for name in bench.starts:
        row = _row(name, samples[name])
        for share, column in ((0.99, "mlx_lm p99 / this"), (1.0, "mlx_lm max / this")):
            if "mlx_lm" in bench.starts:
                row[column] = _gap(samples["mlx_lm"], share) / _gap(samples[name], share)
        rows.append(row)
    return {f"8 streams while {bench.options.long_tokens:,} tokens are read": rows}


def _sample(start: Start, model: Model, tokens: int) -> _Sample:
    prompts = Prompts(model.path)
    with start(model) as server, server.client() as client:

        def send(prompt_tokens: int, answer_tokens: int) -> Stream:
            prompt = prompts.take(prompt_tokens)
            return client.start("/v1/completions", {"prompt": prompt, "max_tokens": answer_tokens})

        for prompt_tokens in (_PROMPT_TOKENS, tokens):  # the first is to warm up
            alone = send(prompt_tokens, _ANSWER_TOKENS)
            client.wait([alone])
        room = model.context_length - 2 * _PROMPT_TOKENS
        running = [send(_PROMPT_TOKENS, min(_STREAM_TOKENS, room)) for _ in range(_STREAMS)]
        while not all(stream.reply_so_far().text_times for stream in running):
            client.read_for(0.1)
        client.read_for(_WARM_UP_SECONDS)
        long = send(tokens, _ANSWER_TOKENS)
        client.wait([long])
        if any(stream.ended for stream in running):
            raise BenchmarkError("a running stream ended before the long prompt was read")
        client.abandon(running)
    seconds = long.reply().text_times[0]
    gaps, texts = _during(running, long.started, long.started + seconds)
    return _Sample(gaps, texts, seconds, alone.reply().text_times[0])


def _during(streams: list[Stream], begin: float, end: float) -> tuple[list[float], int]:
    """The gaps that overlap the time from `begin` to `end`, and the pieces of text within it."""
    gaps, texts = [], 0
    for stream in streams:
        times = [stream.started + seconds for seconds in stream.reply_so_far().text_times]
        texts += sum(begin < moment <= end for moment in times)
        gaps += [
            later - earlier
            for earlier, later in itertools.pairwise(times)
            if later > earlier and later > begin and earlier < end
        ]
    return gaps, texts


def _row(name: str, samples: list[_Sample]) -> Row:
    alone = statistics.median(sample.alone_seconds for sample in samples)
    seconds = statistics.median(sample.seconds for sample in samples)
    return {
        "server": name,
        "p50 gap ms": _gap(samples, 0.5),
        "p99 gap ms": _gap(samples, 0.99),
        "max gap ms": _gap(samples, 1.0),
        "texts": statistics.median(sample.texts for sample in samples),
        "long prompt ms": milliseconds([seconds]),
        "alone ms": milliseconds([alone]),
        "long / alone": seconds / alone,
    }


def _gap(samples: list[_Sample], share: float) -> float:
    """The quantile `share` of the gaps of all samples, in milliseconds."""
    return milliseconds([gap for sample in samples for gap in sample.gaps], share)
