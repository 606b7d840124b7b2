"""Typed HTTP over the daemon's Unix socket; every failure becomes a line of advice."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import click
import msgspec

from mlxctl import http
from mlxctl.errors import CommandFailed, NoAnswer, NotRunning, RefusedByDaemon
from mlxd import __version__, config, control_api

_BAD_REQUEST = 400
_ANSWER_SECONDS = 5.0
_REMOVAL_SECONDS = 120.0  # of many gigabytes, on a slow disk
_SILENCE_SECONDS = 60.0  # a stream that waits says so every few seconds

_DATA = b"data: "

Show = Callable[[control_api.Progress], None]
_Reply = TypeVar("_Reply", bound=msgspec.Struct)
_Progress = TypeVar("_Progress", bound=msgspec.Struct)


class ErrorDetail(msgspec.Struct):
    """OpenAI's error object, as far as a person needs it."""

    message: str


class _ErrorReply(msgspec.Struct):
    error: ErrorDetail


class _Event(msgspec.Struct):
    progress: msgspec.Raw = msgspec.Raw()
    done: msgspec.Raw = msgspec.Raw()
    error: ErrorDetail | None = None


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
    used. `warn` says whether a daemon of another version is remarked upon, `patience` how many
    seconds an answer may take where that is less than usual.
    """

    def __init__(
        self, socket_file: Path, *, warn: bool = True, patience: float | None = None
    ) -> None:
        self.socket_file = socket_file
        self._warn = warn
        self._patience = patience

    def health(self) -> None:
        """Return when the daemon can generate."""
        self._exchange("GET", "/health")

    def status(self) -> control_api.Status:
        """Give what runs, and where everything is."""
        return self._decode(self._exchange("GET", "/control/v1/status"), control_api.Status)

    def models(self) -> control_api.ModelListing:
        """Give every model that can be asked for, and what is broken."""
        return self._decode(self._exchange("GET", "/control/v1/models"), control_api.ModelListing)

    def show(self, model: str) -> control_api.ModelDetails:
        """Give what there is to know of `model`."""
        reply = self._exchange("GET", f"/control/v1/models/{quote(model)}")
        return self._decode(reply, control_api.ModelDetails)

    def remove(self, model: str, *, dry_run: bool = False) -> control_api.Removal:
        """Remove `model` from the disk, or with `dry_run` say what would be removed."""
        path = f"/control/v1/models/{quote(model)}" + ("?dry_run=true" if dry_run else "")
        reply = self._exchange("DELETE", path, timeout=_REMOVAL_SECONDS)
        return self._decode(reply, control_api.Removal)

    def aliases(self) -> control_api.AliasList:
        """Give every other name of models."""
        return self._decode(self._exchange("GET", "/control/v1/aliases"), control_api.AliasList)

    def set_alias(self, name: str, model: str) -> control_api.Alias:
        """Make `name` another name for `model`."""
        body = control_api.Alias(name=name, model=model)
        return self._decode(self._exchange("POST", "/control/v1/aliases", body), control_api.Alias)

    def remove_alias(self, name: str) -> control_api.AliasRemoval:
        """Take an alias out."""
        reply = self._exchange("DELETE", f"/control/v1/aliases/{quote(name)}")
        return self._decode(reply, control_api.AliasRemoval)

    def use(self, model: str, show: Show, *, wait: bool) -> control_api.UseReply:
        """Make `model` the default one; `wait` also for the requests of the old one."""
        body = control_api.UseRequest(model=model, wait=wait, stream=True)
        return self._follow(
            "/control/v1/use", body, control_api.UseReply, control_api.Progress, show
        )

    def load(
        self, model: str | None, keep_alive: str | None, show: Show
    ) -> control_api.ModelStatus:
        """Bring `model`, or the default one, into memory."""
        body = control_api.LoadRequest(model=model, keep_alive=keep_alive, stream=True)
        return self._follow(
            "/control/v1/load", body, control_api.ModelStatus, control_api.Progress, show
        )

    def unload(self, model: str | None, show: Show) -> control_api.UnloadReply:
        """Take `model`, or all of them, out of memory."""
        body = control_api.UnloadRequest(model=model, stream=True)
        return self._follow(
            "/control/v1/unload", body, control_api.UnloadReply, control_api.Progress, show
        )

    def pull(
        self, model: str, show: Callable[[control_api.PullStatus], None]
    ) -> control_api.PullReply:
        """Download `model`, or watch its download."""
        body = control_api.PullRequest(model=model, stream=True)
        path = "/control/v1/pull"
        return self._follow(path, body, control_api.PullReply, control_api.PullStatus, show)

    def pulls(self) -> control_api.PullList:
        """Give the downloads that run, wait or have failed."""
        return self._decode(self._exchange("GET", "/control/v1/pulls"), control_api.PullList)

    def cancel_pull(self, model: str) -> control_api.CancelPullReply:
        """End the download of `model` and remove what has come of it."""
        body = control_api.CancelPullRequest(model=model)
        path = "/control/v1/pull/cancel"
        return self._decode(self._exchange("POST", path, body), control_api.CancelPullReply)

    @contextlib.contextmanager
    def stream(self, path: str, body: msgspec.Struct) -> Iterator[Iterator[bytes]]:
        """POST `body` and give the lines of the reply as they come; leaving closes the connection.

        The lines are without their ends.
        """
        with contextlib.ExitStack() as stack:
            with self._explained(_SILENCE_SECONDS):
                response = stack.enter_context(self._request("POST", path, body, _SILENCE_SECONDS))
                self._check(response)
            yield self._lines(response)

    def _follow(
        self,
        path: str,
        body: msgspec.Struct,
        reply: type[_Reply],
        progress: type[_Progress],
        show: Callable[[_Progress], None],
    ) -> _Reply:
        """POST `body`, call `show` with each `progress`, and give what comes of it."""
        with self.stream(path, body) as lines:
            for line in lines:
                if not line.startswith(_DATA):
                    continue
                event = self._decode(line.removeprefix(_DATA), _Event)
                if event.error is not None:
                    raise RefusedByDaemon(event.error.message)
                if event.done:
                    return self._decode(bytes(event.done), reply)
                if event.progress:
                    show(self._decode(bytes(event.progress), progress))
        raise NoAnswer(f"mlxd closed the connection on {self.socket_file}")

    def _lines(self, response: http.Response) -> Iterator[bytes]:
        # Not around the whole stream: what fails where the lines are used is another matter.
        with self._explained(_SILENCE_SECONDS):
            yield from response.lines()

    def _exchange(
        self,
        method: str,
        path: str,
        body: msgspec.Struct | None = None,
        timeout: float | None = None,
    ) -> bytes:
        timeout = timeout or self._patience or _ANSWER_SECONDS
        with (
            self._explained(timeout),
            self._request(method, path, body, timeout) as response,
        ):
            self._check(response)
            return response.read()

    def _request(
        self, method: str, path: str, body: msgspec.Struct | None, timeout: float
    ) -> contextlib.AbstractContextManager[http.Response]:
        payload = None if body is None else msgspec.json.encode(body)
        return http.request(self.socket_file, method, path, payload, timeout)

    def _check(self, response: http.Response) -> None:
        self._remark_on(response.headers.get("x-mlxd-version", __version__))
        if response.status >= _BAD_REQUEST:
            raise RefusedByDaemon(self._decode(response.read(), _ErrorReply).error.message)

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
        except ConnectionError as error:
            raise NoAnswer(f"mlxd closed the connection on {file}") from error
        except http.BrokenReply as error:
            raise NoAnswer(f"the reply on {file} {error}") from error
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
