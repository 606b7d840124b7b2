"""Typed HTTP over the daemon's Unix socket; every failure becomes one line of advice."""

import contextlib
import os
import socket
from collections.abc import Callable, Generator, Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec

from mlxctl.errors import CommandFailed, NoAnswer, NotRunning, RefusedByDaemon
from mlxctl.terminal import remark
from mlxd import __version__, config, lock, paths
from mlxd.control_api import STATUS, Endpoint, ProgressT, ReplyT, Status, StreamEndpoint

_BAD_REQUEST = 400
_ANSWER_SECONDS = 5.0
_SILENCE_SECONDS = 60.0  # a waiting stream sends a sign of life every few seconds


class ErrorDetail(msgspec.Struct):
    """OpenAI's error object, as far as mlxctl needs it."""

    message: str


class StreamEvent(msgspec.Struct):
    """Base of the events of a stream, any of which may be an error."""

    error: ErrorDetail | None = None


class HealthReply(msgspec.Struct):
    """The reply of a daemon that can generate."""

    status: str


HEALTH = Endpoint("GET", "/health", None, HealthReply)

_StructT = TypeVar("_StructT", bound=msgspec.Struct)
_EventT = TypeVar("_EventT", bound=StreamEvent)


class _ErrorReply(msgspec.Struct):
    error: ErrorDetail


class _TaskEvent(StreamEvent):
    progress: msgspec.Raw = msgspec.Raw()
    done: msgspec.Raw = msgspec.Raw()


def connect() -> "Client":
    """Return the client of the daemon that the configuration describes.

    Raises:
        ConfigError: the configuration is at fault.
    """
    return Client(config.load().socket_file())


def is_running() -> bool:
    """Whether a daemon runs; a connection would start one if launchd or systemd listens.

    Raises:
        MlxdError: its lock file cannot be read.
    """
    return lock.holder(paths.lock_file()) is not None


def running_status() -> Status | None:
    """Return the daemon's status, None if it does not run or is just starting.

    Raises:
        CommandFailed: it runs and does not answer.
    """
    if is_running():
        with contextlib.suppress(NotRunning):
            return connect().call(STATUS)
    return None


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
        with self._response(endpoint.method, target, body, timeout) as response:
            return self._decode(response.read(), endpoint.reply)

    def follow(
        self,
        endpoint: StreamEndpoint[ReplyT, ProgressT],
        body: msgspec.Struct,
        show: Callable[[ProgressT], None],
    ) -> ReplyT:
        """Send `body`, which asks for a stream, show its progress and return the reply."""
        with contextlib.closing(self.stream(endpoint.path, body, _TaskEvent)) as events:
            while not (event := next(events)).done:
                if event.progress:
                    show(self._decode(bytes(event.progress), endpoint.progress))
            return self._decode(bytes(event.done), endpoint.reply)

    def stream(
        self,
        path: str,
        body: msgspec.Struct,
        kind: type[_EventT],
        comment: Callable[[str], None] = lambda _text: None,
    ) -> Generator[_EventT, None, None]:
        """POST `body` and yield the events of the reply, of type `kind`, up to "[DONE]".

        `comment` gets what the daemon says between them, such as "loading 41%". Closing the
        generator closes the connection.
        """
        with self._response("POST", path, body, _SILENCE_SECONDS) as response:
            for line in response:
                name, _, value = map(bytes.strip, line.partition(b":"))
                if name == b"data":
                    if value == b"[DONE]":
                        return
                    event = self._decode(value, kind)
                    if event.error is not None:
                        raise RefusedByDaemon(event.error.message)
                    yield event
                elif value and not name:
                    comment(value.decode(errors="replace"))
        raise NoAnswer(f"the reply on {self.socket_file} ended early")

    @contextlib.contextmanager
    def _response(
        self, method: str, target: str, body: msgspec.Struct | None, timeout: float
    ) -> Iterator[HTTPResponse]:
        """Send a request and yield the response, of which errors are raised."""
        file = self.socket_file
        payload = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        try:
            with contextlib.closing(_UnixConnection(file, timeout)) as connection:
                # The daemon replies without reading the rest of a body that it refuses.
                with contextlib.suppress(BrokenPipeError):
                    connection.request(method, target, payload, headers)
                with connection.getresponse() as response:
                    self._warn_of_other_version(response.headers.get("x-mlxd-version"))
                    if response.status >= _BAD_REQUEST:
                        reply = self._decode(response.read(), _ErrorReply)
                        raise RefusedByDaemon(reply.error.message)
                    yield response
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunning from error
        except PermissionError as error:
            raise CommandFailed(f"{file}: mlxd belongs to another user") from error
        except (TimeoutError, BlockingIOError) as error:
            raise NoAnswer(f"mlxd does not answer on {file} (waited {timeout:g} s)") from error
        except (ConnectionError, HTTPException) as error:
            fault = type(error).__name__
            raise NoAnswer(f"the reply on {file} ended early or is not HTTP ({fault})") from error
        except OSError as error:
            raise CommandFailed(f"{file}: {error.strerror or error}") from error

    def _decode(self, data: bytes, kind: type[_StructT]) -> _StructT:
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError as error:
            raise NoAnswer(
                f"the reply on {self.socket_file} is not what mlxctl {__version__} expects: {error}"
            ) from error

    def _warn_of_other_version(self, version: str | None) -> None:
        if self._warn and version not in (None, __version__):
            self._warn = False
            remark(
                f"mlxd {version} is running, but mlxctl is {__version__}; "
                "restart it: mlxctl restart"
            )


class _UnixConnection(HTTPConnection):
    def __init__(self, file: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._file = file

    def connect(self) -> None:
        # In a shared folder, somebody else could have made the socket, to read what is asked.
        if os.getuid() and os.lstat(self._file).st_uid not in (0, os.getuid()):
            raise PermissionError
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._file))
