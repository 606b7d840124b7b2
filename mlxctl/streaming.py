"""A chat as mlxctl sends it, and its streamed answer as it arrives."""

from collections.abc import Generator

import msgspec
from msgspec import UNSET, UnsetType

from mlxctl.client import Client, ErrorDetail
from mlxctl.errors import NoAnswer, RefusedByDaemon

_PATH = "/v1/chat/completions"
_DONE = b"data: [DONE]"


class Message(msgspec.Struct):
    """One message of the conversation."""

    role: str
    content: str


class StreamOptions(msgspec.Struct, frozen=True):
    """Asks for the token counts at the end of a stream."""

    include_usage: bool = True


class Request(msgspec.Struct, kw_only=True):
    """A request for a streamed answer; what is UNSET is the daemon's choice."""

    messages: list[Message]
    model: str | UnsetType = UNSET
    max_tokens: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    stream: bool = True
    stream_options: StreamOptions = StreamOptions()


class Usage(msgspec.Struct):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Delta(msgspec.Struct):
    """What a chunk adds."""

    content: str | None = None


class Choice(msgspec.Struct):
    """One answer; there is no other."""

    delta: Delta
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    """A piece of the answer; the last one has no choice and the token counts."""

    model: str = ""
    choices: list[Choice] = []
    usage: Usage | None = None
    error: ErrorDetail | None = None


class Progress(msgspec.Struct):
    """What the daemon says of a request whose answer has not begun, such as "loading 41%"."""

    text: str


def ask(client: Client, request: Request) -> Generator[Progress | Chunk, None, None]:
    """Send `request` and give its answer piece by piece; closing the iterator aborts it.

    Raises:
        CommandFailed: as the methods of `Client` do, also after the first piece.
    """
    with client.stream(_PATH, request) as lines:
        for line in lines:
            kind, _, value = line.partition(b": ")
            if line == _DONE:
                return
            if kind == b"data":
                yield _decode(value)
            elif line.startswith(b":"):
                yield Progress(value.decode(errors="replace"))
    raise NoAnswer("the reply ended early: mlxd sent no end of the answer")


def _decode(data: bytes) -> Chunk:
    try:
        chunk = msgspec.json.decode(data, type=Chunk)
    except msgspec.DecodeError as error:
        raise NoAnswer(f"mlxd sent what is no piece of an answer: {error}") from error
    if chunk.error is not None:
        raise RefusedByDaemon(chunk.error.message)
    return chunk
