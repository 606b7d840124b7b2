"""Streams that run at the same time, and what they show of a server."""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mlxctl.bench.client import USUAL_SECONDS, StreamingClient
from mlxctl.bench.streams import Stream

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"


@dataclass(frozen=True)
class Run:
    """Streams that ran at the same time, and what share of a CPU the client used meanwhile.

    `cached_tokens` are those of each prompt, None if the server does not tell.
    """

    prompt_tokens: list[int]
    completion_tokens: list[int]
    text_times: list[list[float]]
    wall_seconds: float
    client_cpu: float = 0.0
    cached_tokens: list[int | None] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Tokens a second over all streams, from the first request to the last text."""
        return sum(self.completion_tokens) / self.wall_seconds

    @property
    def first_text(self) -> list[float]:
        """The time to the first token of each stream."""
        return [times[0] for times in self.text_times]

    @property
    def prompt_rate(self) -> float:
        """Prompt tokens a second over all streams, until each of them has its first token."""
        return sum(self.prompt_tokens) / max(self.first_text)

    @property
    def stream_rate(self) -> float | None:
        """Tokens a second of a typical stream after its first; None if they came all at once."""
        rates = [
            (tokens - 1) / (times[-1] - times[0])
            for tokens, times in zip(self.completion_tokens, self.text_times, strict=True)
            if times[-1] > times[0]
        ]
        return statistics.median(rates) if rates else None

    @property
    def gaps(self) -> list[float]:
        """How long each stream waited for its next text; texts that came at once count as one."""
        return [
            later - earlier
            for times in self.text_times
            for earlier, later in itertools.pairwise(times)
            if later > earlier
        ]


def together(
    client: StreamingClient,
    start: Callable[[str], Stream],
    texts: Sequence[str],
    *,
    tokens: int | None = None,
    timeout: float = USUAL_SECONDS,
) -> Run:
    """Begin one stream for each of `texts` at once with `start`; return what they show.

    `tokens` is how many each reply must have, None for any number; `timeout` is in seconds.

    Raises:
        BenchmarkError: a stream fails, or does not end in time.
    """
    wall, cpu = client.wall_seconds, client.cpu_seconds
    streams = [start(text) for text in texts]
    client.wait(streams, timeout=timeout)
    cpu = (client.cpu_seconds - cpu) / (client.wall_seconds - wall)
    replies = [stream.reply(tokens=tokens) for stream in streams]
    ended = max(
        stream.started + reply.text_times[-1]
        for stream, reply in zip(streams, replies, strict=True)
    )
    cached = [reply.cached_tokens for reply in replies]
    return Run(
        [reply.prompt_tokens for reply in replies],
        [reply.completion_tokens for reply in replies],
        [reply.text_times for reply in replies],
        ended - streams[0].started,
        cpu,
        cached,
    )
