"""What an API dialect is, and the fields all of them share.

A dialect is one module with a function `decode_body(data) -> Body`. The body knows how to become a
GenerateRequest, and makes the fold that turns the events of the answer into JSON or SSE.
"""

from typing import Annotated, Protocol, TypeVar

import msgspec
from msgspec import Meta

from mlxd import messages
from mlxd.config import Generation
from mlxd.messages import Event, GenerateRequest, Sampling

_INT32_MAX = 2**31 - 1
_MAX_STOPS = 16

_TokenCount = Annotated[int, Meta(ge=1, le=_INT32_MAX)]
_StopText = Annotated[str, Meta(min_length=1)]
Prompt = messages.ChatPrompt | messages.TextPrompt | messages.TokensPrompt
_Number = TypeVar("_Number", int, float)


class Fold(Protocol):
    """Turns the events of one answer into its reply, in pieces or whole.

    `usage` is None until `Finished` has come.
    """

    usage: messages.Usage | None

    def stream(self, events: list[Event]) -> bytes:
        """Give the SSE events that `events` make, `[DONE]` included after `Finished`."""

    def collect(self, events: list[Event]) -> None:
        """Keep what `events` add to the reply."""

    def reply(self) -> bytes:
        """Give the whole reply as JSON, once `Finished` has been collected."""


class Body(Protocol):
    """A decoded and valid request of one dialect."""

    @property
    def model(self) -> str | None:
        """The model asked for; None for the default."""

    @property
    def stream(self) -> bool | None:
        """Whether the reply comes in pieces."""

    def to_request(self, defaults: Generation) -> GenerateRequest:
        """Give the request for the engine; `defaults` stand in for what was left out."""

    def fold(self, model: str, created: int) -> Fold:
        """Give the fold of the answer: `model` is the one that answers, `created` unix time."""


class StreamOptions(msgspec.Struct, frozen=True):
    """`include_usage` asks for one more chunk, with the token counts."""

    include_usage: bool | None = None


class CommonFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields every dialect has; None is a field that was left out or null.

    `top_p` 0 and `top_k` 0 or -1 mean off: the first two as in mlx_lm's server, -1 as in vLLM.
    """

    model: str | None = None
    max_tokens: _TokenCount | None = None
    max_completion_tokens: _TokenCount | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=_INT32_MAX)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    stop: _StopText | Annotated[list[_StopText], Meta(max_length=_MAX_STOPS)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def continuing(self, prompt: Prompt, defaults: Generation) -> GenerateRequest:
        """Give the request for the engine that asks to continue `prompt`."""
        return GenerateRequest(
            prompt=prompt,
            max_tokens=self.max_completion_tokens or self.max_tokens or defaults.max_tokens,
            sampling=Sampling(
                temperature=_first(self.temperature, defaults.temperature),
                top_p=_first(self.top_p, defaults.top_p) or 1.0,
                top_k=max(0, _first(self.top_k, defaults.top_k)),
                min_p=_first(self.min_p, defaults.min_p),
            ),
            stop=[self.stop] if isinstance(self.stop, str) else self.stop or [],
            seed=self.seed,
        )


def _first(given: _Number | None, default: _Number) -> _Number:
    return default if given is None else given
