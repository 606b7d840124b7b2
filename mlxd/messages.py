"""Every message between the daemon and an engine, and the rules both keep.

Messages are msgspec Structs in MessagePack; a frame is a four-byte big-endian length and that many
bytes, which hold a *list* of messages. The engine sends one frame per scheduler step, with the
events of every sequence in the batch.

The rules, each with a test in tests/test_messages.py or tests/pool/test_engine_process.py:

1. The engine speaks first: `Hello`, and `Warm` once it has imported what it needs. The daemon sends
   one `Load`, at once or much later, or none; until then the engine waits and takes no time of a
   processor. `LoadProgress`, which never falls, and one `Ready` (or one `Fatal`) follow. `Generate`
   is sent only after `Ready`, `Ping` at any time.
2. Each `Generate` gets exactly one terminal message, `Finished` or `Failed`, aborted ones included.
3. `Abort` is idempotent, and harmless for an id that has ended.
4. End of file becomes `EngineDied` for every open request.
5. The engine exits on end of file, even in the middle of a long prefill.
6. An exception while stepping fails the sequences it concerns or sends `Fatal`; no thread dies
   silently.
7. `Ping` is answered with `Pong` by the thread that steps, so an answer means the loop turns.
8. MLX is used from one thread only, and SIGTERM keeps its default action in the engine.
"""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

PROTOCOL_VERSION = 3
MAX_FRAME_BYTES = 256 * 1024 * 1024
_LENGTH_BYTES = 4


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all: frozen, and encoded as an array without field names."""


class ToolUse(Message, frozen=True):
    """The functions the model may call, as OpenAI's `tools` describes them.

    `choice` "required" makes it call at least one; `name` makes it call that one.
    """

    functions: list[dict[str, Any]]
    choice: Literal["auto", "required"] = "auto"
    name: str | None = None
    parallel: bool = True


class Template(Message, frozen=True):
    """How a conversation becomes text, where a request says more than the model's own template.

    `source` is a Jinja template instead of the model's, `default` stands in for a missing one,
    `role_mapping` replaces both with a prefix for each role. `arguments` are for the template.
    """

    source: str | None = None
    default: bool = False
    role_mapping: dict[str, str] | None = None
    arguments: dict[str, Any] = {}


class ChatPrompt(Message, frozen=True, tag="chat"):
    """A conversation, rendered by a chat template in the engine."""

    messages: list[dict[str, Any]]
    template: Template = Template()
    tools: ToolUse | None = None


class TextPrompt(Message, frozen=True, tag="text"):
    """Text that goes to the tokenizer as it is."""

    text: str


class TokensPrompt(Message, frozen=True, tag="tokens"):
    """Token ids that go to the model as they are."""

    tokens: list[int]


Prompt = ChatPrompt | TextPrompt | TokensPrompt


class Sampling(Message, frozen=True):
    """How the next token is chosen; `temperature` 0 is greedy, the other zeros are off."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1


class Penalties(Message, frozen=True):
    """What makes tokens that were there less likely; 0 is off, a context size of 0 is everything.

    The context sizes count the last tokens of prompt and answer together, as in mlx_lm.
    """

    repetition_penalty: float = 0.0
    repetition_context_size: int = 20
    presence_penalty: float = 0.0
    presence_context_size: int = 20
    frequency_penalty: float = 0.0
    frequency_context_size: int = 20


class Grammar(Message, frozen=True):
    """What the answer must match; `param` is the field of the request that it came from.

    `source` is a JSON schema as a JSON text, a regular expression or a Lark grammar.
    """

    kind: Literal["json_schema", "regex", "lark"]
    source: str
    param: str


class Draft(Message, frozen=True):
    """The model in the folder `path` guesses `tokens` tokens ahead of the one that answers."""

    path: str
    tokens: int


class GenerateRequest(Message, frozen=True):
    """What every API dialect turns its body into.

    `stop` holds texts that end the sequence and are never shown; `seed` None draws a fresh one;
    `max_tokens` None means as many as the context has room for. `logit_bias` is added to the logits
    of those token ids. `logprobs` asks for the log-probability of each token and of so many others.
    """

    prompt: Prompt
    max_tokens: int | None
    sampling: Sampling
    stop: list[str] = []
    seed: int | None = None
    penalties: Penalties = Penalties()
    logit_bias: dict[int, float] = {}
    logprobs: int | None = None
    grammar: Grammar | None = None
    draft: Draft | None = None


class Load(Message, frozen=True, tag=True):
    """Load the model in the folder `path`; sent once, sizes in bytes.

    `adapter_path` is a folder with the LoRA weights to apply to it.
    """

    path: str
    adapter_path: str | None = None
    decode_concurrency: int = 32
    prompt_concurrency: int = 8
    prefill_step_size: int = 2048
    prompt_cache_bytes: int = 0
    trust_remote_code: bool = False


class Generate(Message, frozen=True, tag=True):
    """Start a sequence; `id` is the daemon's, unique within the engine's life."""

    id: int
    request: GenerateRequest


class Abort(Message, frozen=True, tag=True):
    """End the sequence `id` within a step."""

    id: int


class Ping(Message, frozen=True, tag=True):
    """Ask whether the loop turns."""


class Shutdown(Message, frozen=True, tag=True):
    """Exit now; what is still running is aborted."""


class Hello(Message, frozen=True, tag=True):
    """The engine's first message."""

    protocol_version: int
    pid: int


class Warm(Message, frozen=True, tag=True):
    """All is imported; the model can be loaded at once. `memory_bytes` as in `Pong`."""

    memory_bytes: int


class LoadProgress(Message, frozen=True, tag=True):
    """How far the load is, from 0 to 1."""

    fraction: float


class Ready(Message, frozen=True, tag=True):
    """The model is loaded; `context_length` in tokens, 0 when the model does not say.

    `memory_bytes` as in `Pong`; `device_memory_bytes` is what all processes together should take of
    the GPU's memory, as Metal recommends, 0 where there is no Metal.
    """

    context_length: int
    memory_bytes: int
    device_memory_bytes: int = 0


class Pong(Message, frozen=True, tag=True):
    """The loop turns; `memory_bytes` is what the process takes of the machine's memory now.

    `tokens_per_second` is how fast it has generated in the last seconds.
    """

    memory_bytes: int
    tokens_per_second: float = 0.0


class Fatal(Message, frozen=True, tag=True):
    """The engine cannot go on and exits after this message."""

    message: str


class Started(Message, frozen=True, tag=True):
    """The prompt is tokenised and queued; `cached_tokens` of it need no prefill."""

    id: int
    prompt_tokens: int
    cached_tokens: int


class PrefillProgress(Message, frozen=True, tag=True):
    """`done` of `total` prompt tokens are processed."""

    id: int
    done: int
    total: int


class TopLogprob(Message, frozen=True):
    """One token that could have come, and its natural log-probability."""

    id: int
    text: str
    bytes: bytes
    logprob: float


class TokenLogprob(Message, frozen=True):
    """The token that came; `top` holds the likeliest in its place, the likeliest first."""

    token: TopLogprob
    top: list[TopLogprob]


class Delta(Message, frozen=True, tag=True):
    """More text of the answer, and the log-probabilities of the tokens it is made of, if asked."""

    id: int
    text: str
    logprobs: list[TokenLogprob] = []


class Reasoning(Message, frozen=True, tag=True):
    """More text of what the model thinks before it answers."""

    id: int
    text: str


class ToolCall(Message, frozen=True, tag=True):
    """A whole call of a function; `arguments` is a JSON text, `call_id` what the model named it."""

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
    """Terminal: the sequence ended as `reason` says."""

    id: int
    reason: Literal["stop", "length", "tool_calls", "abort"]
    usage: Usage


class Failed(Message, frozen=True, tag=True):
    """Terminal: the sequence failed. `param` names the field of the request that is at fault."""

    id: int
    kind: Literal["invalid_request", "context_length_exceeded", "generation_failed"]
    message: str
    param: str | None = None


DaemonMessage = Load | Generate | Abort | Ping | Shutdown
Event = Started | PrefillProgress | Delta | Reasoning | ToolCall | Finished | Failed
ChoiceEvent = tuple[int, Event]
"""An event of an answer that has several choices, and which one it belongs to, from 0."""
EngineMessage = Hello | Warm | LoadProgress | Ready | Pong | Fatal | Event

_encoder = msgspec.msgpack.Encoder()
_daemon_decoder = msgspec.msgpack.Decoder(list[DaemonMessage])
_engine_decoder = msgspec.msgpack.Decoder(list[EngineMessage])


def encode_frame(messages: list[DaemonMessage] | list[EngineMessage]) -> bytes:
    """Encode `messages` as one frame, length prefix included."""
    payload = _encoder.encode(messages)
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


def decode_daemon_frame(payload: bytes | memoryview) -> list[DaemonMessage]:
    """Decode a frame's payload as the engine receives it.

    Raises:
        msgspec.DecodeError: when the payload is no list of daemon messages.
    """
    return _daemon_decoder.decode(payload)


def decode_engine_frame(payload: bytes | memoryview) -> list[EngineMessage]:
    """Decode a frame's payload as the daemon receives it.

    Raises:
        msgspec.DecodeError: when the payload is no list of engine messages.
    """
    return _engine_decoder.decode(payload)


class FrameSplitter:
    """Cuts a byte stream into the payloads of its frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes of the stream and give each payload that is complete.

        Raises:
            ValueError: when a frame announces more than MAX_FRAME_BYTES.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= _LENGTH_BYTES:
            size = int.from_bytes(buffer[start : start + _LENGTH_BYTES], "big")
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {size} bytes is over the limit of {MAX_FRAME_BYTES}")
            end = start + _LENGTH_BYTES + size
            if end > len(buffer):
                break
            yield bytes(buffer[start + _LENGTH_BYTES : end])
            start = end
        del buffer[:start]
