"""Typed HTTP over the daemon's Unix socket; every failure becomes one line of advice."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import click
import msgspec

from mlxctl import http
from mlxctl.errors import CommandFailed, NoAnswer, NotRunning, RefusedByDaemon
from mlxd import __version__, config
from mlxd.control_api import Endpoint, ProgressT, ReplyT, StreamEndpoint

_BAD_REQUEST = 400
_NO_ENDPOINT = (404, 405)
_NO_ENDPOINT_CODES = ("not_found", "method_not_allowed")
_ANSWER_SECONDS = 5.0
_SILENCE_SECONDS = 60.0  # a waiting stream sends a sign of life every few seconds

_DATA = b"data: "

_StructT = TypeVar("_StructT", bound=msgspec.Struct)


class ErrorDetail(msgspec.Struct):
    """OpenAI's error object, as far as mlxctl needs it."""

    message: str
    code: str | None = None


class HealthReply(msgspec.Struct):
    """The reply of a daemon that can generate."""

    status: str


HEALTH = Endpoint("GET", "/health", None, HealthReply)


class _ErrorReply(msgspec.Struct):
    error: ErrorDetail


class _Event(msgspec.Struct):
    progress: msgspec.Raw = msgspec.Raw()
    done: msgspec.Raw = msgspec.Raw()
    error: ErrorDetail | None = None


def connect() -> "Client":
    """Return the client of the daemon that the configuration describes.

    Raises:
        ConfigError: the configuration is at fault.
    """
    return Client(config.load().socket_file())


class Client:
    """Calls the endpoints of the daemon that listens on `socket_file`.

    Every method raises NotRunning if nothing listens there, NoAnswer if what listens does not
    answer as mlxd does, RefusedByDaemon if the reply is an error, and CommandFailed if the socket
    cannot be used. `warn` tells whether to print a line when the daemon is of another version;
    `patience` is how many seconds to wait for a reply, if less than usual.
    """

    def __init__(
        self, socket_file: Path, *, warn: bool = True, patience: float | None = None
    ) -> None:
        self.socket_file = socket_file
        self._warn = warn
        self._patience = patience
        self._version: str | None = None

    def call(
        self,
        endpoint: Endpoint[ReplyT],
        body: msgspec.Struct | None = None,
        **parameters: str | bool,
    ) -> ReplyT:
        """Return the reply of `endpoint`; `parameters` are those of its path, and its flags."""
        timeout = endpoint.seconds or self._patience or _ANSWER_SECONDS
        path = endpoint.path.format(
            **{name: quote(value) for name, value in parameters.items() if isinstance(value, str)}
        )
        flags = "&".join(f"{name}=true" for name in endpoint.flags if parameters.get(name))
        target = f"{path}?{flags}" if flags else path
        with (
            self._explained(timeout),
            self._request(endpoint.method, target, body, timeout) as response,
        ):
            self._check(response)
            return self._decode(response.read(), endpoint.reply)

    def follow(
        self,
        endpoint: StreamEndpoint[ReplyT, ProgressT],
        body: msgspec.Struct,
        show: Callable[[ProgressT], None],
    ) -> ReplyT:
        """Send `body`, which asks for a stream, show its progress and return the reply."""
        with self.stream(endpoint.path, body) as lines:
            for line in lines:
                if not line.startswith(_DATA):
                    continue
                event = self._decode(line.removeprefix(_DATA), _Event)
                if event.error is not None:
                    raise RefusedByDaemon(event.error.message)
                if event.done:
                    return self._decode(bytes(event.done), endpoint.reply)
                if event.progress:
                    show(self._decode(bytes(event.progress), endpoint.progress))
        raise NoAnswer(f"mlxd closed the connection on {self.socket_file}")

    @contextlib.contextmanager
    def stream(self, path: str, body: msgspec.Struct) -> Iterator[Iterator[bytes]]:
        """POST `body` and yield the lines of the reply as they come, without their ends.

        Leaving the block closes the connection.
        """
        with contextlib.ExitStack() as stack:
            with self._explained(_SILENCE_SECONDS):
                response = stack.enter_context(self._request("POST", path, body, _SILENCE_SECONDS))
                self._check(response)
            yield self._lines(response)

    def _lines(self, response: http.Response) -> Iterator[bytes]:
        # Only around the reading: errors of the code that uses the lines are not the socket's.
        with self._explained(_SILENCE_SECONDS):
            yield from response.lines()

    def _request(
        self, method: str, target: str, body: msgspec.Struct | None, timeout: float
    ) -> contextlib.AbstractContextManager[http.Response]:
        payload = None if body is None else msgspec.json.encode(body)
        return http.request(self.socket_file, method, target, payload, timeout)

    def _check(self, response: http.Response) -> None:
        self._version = response.headers.get("x-mlxd-version")
        self._warn_of_other_version()
        if response.status < _BAD_REQUEST:
            return
        data = response.read()
        if self._version and response.status in _NO_ENDPOINT and _is_of_unknown_endpoint(data):
            raise RefusedByDaemon(
                f"mlxd {self._version} is running and does not know this command; "
                "restart it: mlxctl restart"
            )
        raise RefusedByDaemon(self._decode(data, _ErrorReply).error.message)

    @contextlib.contextmanager
    def _explained(self, timeout: float) -> Iterator[None]:
        file = self.socket_file
        try:
            yield
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunning from error
        except PermissionError as error:
            raise CommandFailed(
                f"{file}: permission denied; mlxd belongs to another user"
            ) from error
        except (TimeoutError, BlockingIOError) as error:
            raise NoAnswer(f"mlxd does not answer on {file} (waited {timeout:g} s)") from error
        except ConnectionError as error:
            raise NoAnswer(f"mlxd closed the connection on {file}") from error
        except http.BrokenReply as error:
            raise NoAnswer(f"the reply on {file} {error}") from error
        except OSError as error:
            raise CommandFailed(f"{file}: {error.strerror or error}") from error

    def _decode(self, data: bytes, kind: type[_StructT]) -> _StructT:
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError as error:
            if self._version not in (None, __version__):
                raise NoAnswer(
                    f"mlxctl {__version__} cannot read the reply of mlxd {self._version} "
                    f"({error}); restart it: mlxctl restart"
                ) from error
            raise NoAnswer(f"the program on {self.socket_file} is not mlxd: {error}") from error

    def _warn_of_other_version(self) -> None:
        if self._warn and self._version not in (None, __version__):
            self._warn = False
            click.echo(
                f"mlxctl: mlxd {self._version} is running, but mlxctl is {__version__}; "
                "restart it: mlxctl restart",
                err=True,
            )


def _is_of_unknown_endpoint(data: bytes) -> bool:
    """Whether an error says that there is no such endpoint, rather than no such model."""
    try:
        return msgspec.json.decode(data, type=_ErrorReply).error.code in _NO_ENDPOINT_CODES
    except msgspec.DecodeError:
        return True
