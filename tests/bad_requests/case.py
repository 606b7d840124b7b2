"""One case: what is sent, how, and what must come back; as a file, it can be sent again."""

from enum import Enum
from pathlib import Path

import msgspec


class Expected(Enum):
    """How a case may end."""

    REPLY = "reply"  # with a whole reply
    REPLY_OR_CLOSE = "reply or close"  # it is not valid HTTP, so the connection may just be closed
    NOTHING = "nothing"  # the client leaves or reads nothing, so it cannot tell


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One connection: `pieces` are bytes to send, and seconds to wait between them.

    `kind` is its row of the summary, `name` says what it is. With `unix` it goes to the Unix
    socket. After it has sent everything, a client that does not `read` keeps the connection for
    `linger` seconds, and one that `expects` nothing leaves then.
    """

    kind: str
    name: str
    pieces: list[bytes | float]
    expects: Expected = Expected.REPLY
    unix: bool = False
    read: bool = True
    linger: float = 0.0

    @property
    def size(self) -> int:
        """The number of bytes it sends."""
        return sum(len(piece) for piece in self.pieces if isinstance(piece, bytes))

    def save(self, folder: Path, number: int) -> Path:
        """Write the case into `folder`, and return the file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{number}-{self.kind}.case"
        file.write_bytes(msgspec.msgpack.encode(self))
        return file


def load(file: Path) -> Case:
    """Return the case that `save` wrote."""
    return msgspec.msgpack.decode(file.read_bytes(), type=Case)


def request(
    method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """Return a whole HTTP request whose connection ends with its reply."""
    lines = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(body))}
    if body:
        lines["Content-Type"] = "application/json"
    lines |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1", "replace") + body
