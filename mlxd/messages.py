"""Every message between the daemon and an engine, and the rules that both keep.

Messages are msgspec Structs, sent as lists (see `frames.py`). The engine sends one list for each
scheduler step, with the events of every sequence.

The rules. tests/test_frames.py tests the frames, tests/engine/test_process.py and test_faults.py
the engine's side, and tests/pool/test_engine_link.py and test_engine_process.py the daemon's side:

1. The engine speaks first: `Hello`, and `Warm` once it has imported what it needs. The daemon sends
   one `Load`, at once or much later, or none; until then the engine waits and uses no processor
   time. `LoadProgress`, which never falls, and one `Ready` (or one `Fatal`) follow. `Generate` is
   sent only after `Ready`, `Ping` at any time.
2. Each `Generate` gets exactly one terminal message, `Finished` or `Failed`, aborted ones included.
3. `Abort` is idempotent, and harmless for an id that has ended.
4. When the engine ends, every open request fails with `EngineDied`.
5. The engine exits on end of file, even in the middle of a long prefill.
6. An exception while stepping fails the sequences it concerns or sends `Fatal`; no thread dies
   silently. An event that cannot be encoded fails its sequence.
7. The thread that steps answers `Ping` and `Budget` with `Pong`: an answer means that it works.
8. MLX is used from one thread only, and SIGTERM keeps its default action in the engine.
"""

from typing import Literal

import msgspec

from mlxd.generate_request import GenerateRequest

PROTOCOL_VERSION = 8


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all messages: frozen, and encoded as an array without field names."""


class DiskCacheSettings(Message, frozen=True):
    """Where the prompt cache is on disk, its size for all models, and what people call this one.

    `keep_free` bytes of the disk stay free, or a share of it if that is less.
    """

    folder: str
    max_bytes: int
    keep_free: int
    model: str
    adapter: str | None = None


class Load(Message, frozen=True, tag=True):
    """Load the model in the folder `path`, with the LoRA weights in the folder `adapter_path`.

    Without `disk_cache`, the prompt cache is in memory only. `kv_bits` is 0 for caches in full
    precision. `wired` keeps the weights from being swapped out, on a Mac. An engine hangs that has
    work and is silent for `hang_timeout` seconds; 0 is never.
    """

    path: str
    adapter_path: str | None = None
    decode_concurrency: int = 32
    prompt_concurrency: int = 8
    prefill_step_size: int = 2048
    prompt_cache_bytes: int = 0
    trust_remote_code: bool = False
    wired: bool = True
    disk_cache: DiskCacheSettings | None = None
    kv_bits: int = 0
    kv_group_size: int = 64
    quantized_kv_start: int = 0
    hang_timeout: float = 0.0


class Generate(Message, frozen=True, tag=True):
    """Start a sequence; the daemon chooses `id`, which is unique for this engine."""

    id: int
    request: GenerateRequest


class Abort(Message, frozen=True, tag=True):
    """End the sequence `id` within a step."""

    id: int


class Budget(Message, frozen=True, tag=True):
    """From now on the engine may take so much memory in all; 0, as at first, is no limit."""

    memory_bytes: int


class Ping(Message, frozen=True, tag=True):
    """Ask whether the loop turns."""


class Shutdown(Message, frozen=True, tag=True):
    """Exit now; running sequences are aborted."""


class Hello(Message, frozen=True, tag=True):
    """The engine's first message."""

    protocol_version: int
    pid: int


class Warm(Message, frozen=True, tag=True):
    """The engine has imported what it needs to load a model. `memory_bytes` is as in `Pong`."""

    memory_bytes: int


class LoadProgress(Message, frozen=True, tag=True):
    """How much of the load is done, from 0 to 1."""

    fraction: float


class Ready(Message, frozen=True, tag=True):
    """The model is loaded; `context_length` is in tokens, 0 if the model does not say.

    `memory_bytes` is as in `Pong`. `device_memory_bytes` is how much of the GPU's memory Metal
    recommends that all processes together take, 0 without Metal. `kv_bits` is 0 if caches are in
    full precision, even where `Load` asked for fewer bits.
    """

    context_length: int
    memory_bytes: int
    device_memory_bytes: int = 0
    kv_bits: int = 0


class Pong(Message, frozen=True, tag=True):
    """The loop turns; `memory_bytes` is how much memory the process takes now.

    `tokens_per_second` is how fast it generated in the last seconds. `cache_bytes` is what the
    running sequences take, `prompt_cache_bytes` the prompt cache. `batched` is whether sequences
    run together, `context_fits` how many tokens one alone may have; None without a budget.
    """

    memory_bytes: int
    tokens_per_second: float = 0.0
    cache_bytes: int = 0
    prompt_cache_bytes: int = 0
    batched: bool = True
    context_fits: int | None = None


class Fatal(Message, frozen=True, tag=True):
    """The engine cannot go on and exits after this message."""

    message: str


class Overlooked(Message, frozen=True):
    """A keyword of a schema, at the path `param` of the request, that is not enforced, and why."""

    param: str
    keyword: str
    reason: str


class Started(Message, frozen=True, tag=True):
    """The prompt is tokenized and queued; `cached_tokens` of it need no prefill.

    `disk_tokens` of these were read from disk for it.
    """

    id: int
    prompt_tokens: int
    cached_tokens: int
    overlooked: list[Overlooked] = []
    disk_tokens: int = 0


class Queued(Message, frozen=True, tag=True):
    """The request waits for a place, for memory, or for another's prompt; `place` 1 is next."""

    id: int
    place: int


class PrefillProgress(Message, frozen=True, tag=True):
    """`done` of `total` prompt tokens are processed."""

    id: int
    done: int
    total: int


class TopLogprob(Message, frozen=True):
    """A token that could be next, and its natural log-probability."""

    id: int
    text: str
    bytes: bytes
    logprob: float


class TokenLogprob(Message, frozen=True):
    """The token that was chosen; `top` holds the likeliest tokens in its place, best first."""

    token: TopLogprob
    top: list[TopLogprob]


class Echo(Message, frozen=True, tag=True):
    """A part of the prompt, before the answer, with the log-probabilities of its tokens if asked.

    `offsets` says where in `text` each token starts. The first token of a prompt has nothing before
    it, and so no log-probability: 0 stands for it.
    """

    id: int
    text: str
    logprobs: list[TokenLogprob] = []
    offsets: list[int] = []


class Delta(Message, frozen=True, tag=True):
    """More text of the answer, and the log-probabilities of its tokens if they were requested."""

    id: int
    text: str
    logprobs: list[TokenLogprob] = []


class Reasoning(Message, frozen=True, tag=True):
    """More text of the model's reasoning before the answer."""

    id: int
    text: str


class ToolCall(Message, frozen=True, tag=True):
    """A complete function call; `arguments` is JSON text, `call_id` the id that the model chose."""

    id: int
    name: str
    arguments: str
    call_id: str | None = None


class Usage(Message, frozen=True):
    """Token counts of a finished sequence; `reasoning_tokens` are part of `completion_tokens`."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0


class Finished(Message, frozen=True, tag=True):
    """Terminal: the sequence ended, for `reason`; `stop_text` is the one that ended it, if any."""

    id: int
    reason: Literal["stop", "length", "tool_calls", "abort"]
    usage: Usage
    stop_text: str | None = None


class Failed(Message, frozen=True, tag=True):
    """Terminal: the sequence failed. `param` names the request's field that is at fault."""

    id: int
    kind: Literal[
        "invalid_request", "context_length_exceeded", "insufficient_memory", "generation_failed"
    ]
    message: str
    param: str | None = None


DaemonMessage = Load | Generate | Abort | Budget | Ping | Shutdown
Event = Queued | Started | PrefillProgress | Echo | Delta | Reasoning | ToolCall | Finished | Failed
ChoiceEvent = tuple[int, Event]
"""The number of a choice, from 0, and an event of it."""
EngineMessage = Hello | Warm | LoadProgress | Ready | Pong | Fatal | Event
