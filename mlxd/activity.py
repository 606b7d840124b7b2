"""What the daemon did lately and does now, as data for `mlxctl top` and the page.

Fields may be added, but not taken away, as in `control_api`.
"""

import msgspec


class ServedRequest(msgspec.Struct, kw_only=True):
    """A request that asked a model, without its texts; what is not known (yet) is None.

    `id` is its x-request-id, `at` its arrival in Unix seconds. `dialect` is chat, completions,
    messages, responses or ollama. `caller` is the name of a key, or says where the request came
    from. `state` is queued, reading (its prompt), writing, done, failed or aborted. `status` is
    that of the reply, and `error` the code or the class of the error, never its text.

    Seconds count from its arrival: `queue_s` until an engine took it, `first_token_s` until the
    first piece of its answer, `total_s` until its end, or until now.
    """

    id: str
    at: float
    dialect: str
    caller: str
    model: str | None = None
    adapter: str | None = None
    stream: bool = False
    state: str
    status: int | None = None
    error: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    queue_s: float | None = None
    first_token_s: float | None = None
    total_s: float | None = None
    tokens_per_second: float | None = None


class History(msgspec.Struct, kw_only=True):
    """The last steps of `step_s` seconds each, as columns of equal length, oldest first.

    `end` is the end of the last step in Unix seconds; if that is yet to come, the step goes on.
    Tokens are those generated, those of prompts that were read, and those of prompts that came from
    the prompt cache. `requests` have ended in a step, `failed` is how many of them with an error.
    `running`, `waiting` and the bytes, of all engines together, are the most in each step.
    `first_token_s` and `inter_token_s` are means, None for a step that has none.
    """

    step_s: float
    end: float
    generated_tokens: list[int]
    prompt_tokens: list[int]
    cached_tokens: list[int]
    requests: list[int]
    failed: list[int]
    running: list[int]
    waiting: list[int]
    first_token_s: list[float | None]
    inter_token_s: list[float | None]
    memory_bytes: list[int]
    prompt_cache_bytes: list[int]


class Activity(msgspec.Struct, kw_only=True):
    """What the daemon does `now`, in Unix seconds, and did since its start.

    `running` requests are with an engine, and `waiting` ones are not yet. What comes per second is
    the mean of the last seconds, in tokens. Totals count from the start of the daemon; prompt
    tokens are those that were read, without those from the prompt cache. `requests` has those that
    run first, then the last ones that have ended, the newest first.
    """

    now: float
    running: int
    waiting: int
    generated_per_second: float
    prompt_per_second: float
    requests_total: int
    failed_total: int
    generated_total: int
    prompt_total: int
    cached_total: int
    history: History
    requests: list[ServedRequest]
