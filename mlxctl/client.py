"""Typed HTTP over the daemon's Unix socket; every failure becomes a line of advice."""

import contextlib
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from mlxctl.errors import CommandFailed, NoAnswer, NotRunning, RefusedByDaemon
from mlxd import __version__, config
from mlxd.api import control

_ANSWER_SECONDS = 5.0
_SILENCE_SECONDS = 60.0  # a stream that waits says so every few seconds

_Reply = TypeVar("_Reply", bound=msgspec.Struct)


class ErrorDetail(msgspec.Struct):
    """OpenAI's error object, as far as a person needs it."""

    message: str


class _ErrorReply(msgspec.Struct):
    error: ErrorDetail


def connect() -> "Client":
    """Give the client of the daemon that the configuration describes.

    Raises:
        ConfigError: the configuration is at fault.
    """
    return Client(config.load().socket_file())


class Client:
    """What mlxctl asks of the daemon that listens on `socket_file`.

    Every method raises NotRunning when nobody listens there, NoAnswer when who listens does not
    answer, RefusedByDaemon when the answer is an error, and CommandFailed when the socket cannot be
    used. `warn` says whether a daemon of another version is remarked upon.
    """

    def __init__(self, socket_file: Path, *, warn: bool = True) -> None:
        self.socket_file = socket_file
        self._warn = warn

    def health(self) -> None:
        """Return when the daemon can generate."""
        self._exchange("GET", "/health")

    def status(self) -> control.Status:
        """Give what runs, and where everything is."""
        return self._decode(self._exchange("GET", "/control/v1/status"), control.Status)

    def models(self) -> control.ModelList:
        """Give every model that can be asked for."""
        return self._decode(self._exchange("GET", "/control/v1/models"), control.ModelList)

    def use(self, model: str) -> control.UseReply:
        """Make `model` the default one."""
        body = control.UseRequest(model=model)
        return self._decode(self._exchange("POST", "/control/v1/use", body), control.UseReply)

    @contextlib.contextmanager
    def stream(self, path: str, body: msgspec.Struct) -> Iterator[Iterator[bytes]]:
        """POST `body` and give the lines of the reply as they come; leaving closes the connection.

        The lines are without their ends and may stop early, when the daemon goes away.
        """
        with self._connection(_SILENCE_SECONDS) as connection:
            with self._explained(_SILENCE_SECONDS):
                response = self._send(connection, "POST", path, body)
            with contextlib.closing(response):
                yield self._lines(response)

    def _lines(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        with self._explained(_SILENCE_SECONDS):
            for line in response:
                yield line.rstrip(b"\r\n")

    def _exchange(self, method: str, path: str, body: msgspec.Struct | None = None) -> bytes:
        with (
            self._explained(_ANSWER_SECONDS),
            self._connection(_ANSWER_SECONDS) as connection,
            contextlib.closing(self._send(connection, method, path, body)) as response,
        ):
            return response.read()

    def _connection(self, timeout: float) -> "contextlib.closing[_UnixConnection]":
        return contextlib.closing(_UnixConnection(self.socket_file, timeout))

    def _send(
        self,
        connection: "_UnixConnection",
        method: str,
        path: str,
        body: msgspec.Struct | None,
    ) -> http.client.HTTPResponse:
        payload = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, payload, headers)
        response = connection.getresponse()
        self._remark_on(response.headers.get("x-mlxd-version", __version__))
        if response.status >= http.client.BAD_REQUEST:
            with contextlib.closing(response):
                raise RefusedByDaemon(self._decode(response.read(), _ErrorReply).error.message)
        return response

    @contextlib.contextmanager
    def _explained(self, timeout: float) -> Iterator[None]:
        file = self.socket_file
        try:
            yield
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunning from error
        except PermissionError as error:
            raise CommandFailed(f"{file}: permission denied; mlxd is another user's") from error
        except (TimeoutError, BlockingIOError) as error:
            raise NoAnswer(f"mlxd does not answer on {file} (waited {timeout:g} s)") from error
        except (ConnectionError, http.client.HTTPException) as error:
            raise NoAnswer(f"mlxd closed the connection on {file} before the end") from error
        except OSError as error:
            raise CommandFailed(f"{file}: {error.strerror or error}") from error

    def _decode(self, data: bytes, reply: type[_Reply]) -> _Reply:
        try:
            return msgspec.json.decode(data, type=reply)
        except msgspec.DecodeError as error:
            raise NoAnswer(f"what answers on {self.socket_file} is not mlxd: {error}") from error

    def _remark_on(self, version: str) -> None:
        if self._warn and version != __version__:
            self._warn = False
            click.echo(
                f"mlxctl: mlxd {version} is running, mlxctl is {__version__}: mlxctl restart",
                err=True,
            )


class _UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket; `timeout` is in seconds."""

    def __init__(self, file: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._file = file

    def connect(self) -> None:
        # `close` of the base ends this socket also where connecting fails.
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._file))
