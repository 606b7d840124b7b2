"""What an API dialect is.

A dialect is one module with a function `decode_body(data) -> Body`. The body becomes one
GenerateRequest for each choice, and makes the reply builder, which turns the events of the answer
into JSON or a stream. An error has the form of the API that the path belongs to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mlxd import messages
from mlxd.config import ModelSettings
from mlxd.errors import MlxdError
from mlxd.generate_request import Draft, GenerateRequest
from mlxd.messages import ChoiceEvent


@dataclass(frozen=True)
class StreamForm:
    """How a stream looks: its media type, and what shows the progress while there is no event."""

    media_type: str
    sign_of_life: Callable[[str], bytes]


SSE = StreamForm("text/event-stream", lambda progress: f": {progress}\n\n".encode())
"""Server-sent events, whose comments every client skips."""


class ErrorForm(Protocol):
    """How an API writes an error."""

    def whole(self, error: MlxdError) -> bytes:
        """Return the body of a reply."""

    def event(self, error: MlxdError) -> bytes:
        """Return the last piece of a stream that had begun."""


class ReplyBuilder(Protocol):
    """Turns the events of one answer into its reply, in pieces or whole.

    `usage` is None until every choice has finished.
    """

    @property
    def usage(self) -> messages.Usage | None:
        """The token counts of all choices together."""

    def stream(self, events: list[ChoiceEvent]) -> bytes:
        """Return the pieces that `events` make, the end included after the last `Finished`."""

    def collect(self, events: list[ChoiceEvent]) -> None:
        """Add `events` to the reply. A second `Started` begins the choice again."""

    def reply(self) -> bytes:
        """Return the whole reply as JSON, once every choice has finished."""


class Body(Protocol):
    """A decoded and valid request of one dialect."""

    @property
    def model(self) -> str | None:
        """The requested model; None for the default."""

    @property
    def draft_model(self) -> str | None:
        """The draft model; None for the configured one."""

    @property
    def num_draft_tokens(self) -> int | None:
        """How many tokens it proposes at a time; None for the configured number."""

    @property
    def adapters(self) -> str | None:
        """The adapter to apply; None for the configured one, "" for none."""

    @property
    def kept_alive(self) -> float | None:
        """How many seconds the model stays in memory, -1 forever; None as configured."""

    @property
    def stream(self) -> bool | None:
        """Whether the reply comes in pieces."""

    @property
    def stream_form(self) -> StreamForm:
        """How the pieces look."""

    def to_requests(self, settings: ModelSettings, draft: Draft | None) -> list[GenerateRequest]:
        """Return the engine's request for each choice; `settings` has the defaults."""

    def reply_builder(self, model: str, created: int) -> ReplyBuilder:
        """Return the builder of the reply; `model` answers, `created` is in Unix seconds."""
