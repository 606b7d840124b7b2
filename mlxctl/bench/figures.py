"""What a benchmark found, as `mlxctl bench --json` prints it.

Times are in seconds, memory in bytes. Where several rounds were made, figures are their medians.
"""

import msgspec


class MeasuredServer(msgspec.Struct, kw_only=True):
    """A server that took part; its `name` is what the figures call it."""

    name: str
    url: str
    model: str


class Throughput(msgspec.Struct, kw_only=True):
    """Streams begun at once on one server, each with a prompt of its own that is new to it.

    `prompt` is the length that was asked for; `prompt_tokens` and `answer_tokens` are what the
    server counted for a typical stream. `first_token_s` is the time to the first token of a typical
    stream, `first_token_max_s` that of the slowest one. `prompt_tokens_per_second` is over all
    streams until each has its first token, `stream_tokens_per_second` what a stream gets after its
    first, `tokens_per_second` over all streams and the whole time.
    """

    server: str
    prompt: int
    streams: int
    rounds: int
    prompt_tokens: int
    answer_tokens: int
    first_token_s: float
    first_token_max_s: float
    prompt_tokens_per_second: float
    stream_tokens_per_second: float | None
    tokens_per_second: float


class PromptReuse(msgspec.Struct, kw_only=True):
    """The time to the first token of one stream, by where the beginning of its prompt was.

    `state` is "cold" (nowhere: it was new), "warm" (in the prompt cache in memory) or "disk" (in
    the prompt cache on disk: the model had been unloaded and loaded). `cached_tokens` is None if
    the server does not tell.
    """

    server: str
    prompt: int
    state: str
    rounds: int
    first_token_s: float
    prompt_tokens: int
    cached_tokens: int | None


class Comparison(msgspec.Struct, kw_only=True):
    """mlxd beside the other server: how many times as soon, and as many tokens a second.

    Each is the median of the ratios of the rounds. Above 1, mlxd is ahead.
    """

    prompt: int
    streams: int
    first_token: float
    tokens_per_second: float


class MeasuredMemory(msgspec.Struct, kw_only=True):
    """The memory of the model's process: before the first prompt, and at most.

    `prompt_cache_bytes` is the most that the prompt cache took of it.
    """

    ready_bytes: int
    peak_bytes: int
    prompt_cache_bytes: int
    limit_bytes: int | None


class BenchReport(msgspec.Struct, kw_only=True):
    """All of a run; `at` is when it began, in Unix seconds, `api` the path that was asked.

    `other_requests` is how many requests of others the daemon had at the same time, at most.
    """

    at: float
    seconds: float
    machine: str
    version: str | None
    model: str
    api: str
    answer_tokens: int
    servers: list[MeasuredServer]
    throughput: list[Throughput] = []
    prompt_cache: list[PromptReuse] = []
    against: list[Comparison] = []
    memory: MeasuredMemory | None = None
    other_requests: int = 0
    left_out: list[str] = []
