"""The life of the daemon, top-down: bind, serve, signal, drain, exit."""

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import uvloop

from mlxd import __version__, activation, listeners, paths
from mlxd.activation import Activated
from mlxd.config import Config, check_host
from mlxd.config.keys import PER_MODEL, dotted
from mlxd.control import (
    AliasControl,
    CatalogControl,
    Control,
    MemoryControl,
    PullsControl,
    StatusReporter,
)
from mlxd.errors import LoadFailed, ModelNotFound, ServingFailed
from mlxd.http.app import public_app, unix_app
from mlxd.http.dependencies import Dependencies
from mlxd.http.server import HttpServer
from mlxd.hub.pulls import Pulls
from mlxd.idle import until_idle
from mlxd.models import removal
from mlxd.models.catalog import Catalog
from mlxd.models.selection import Selection
from mlxd.pool.pool import Pool

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_OPEN_FILES = 8192
_LAST_WORDS_SECONDS = 1.0

_log = logging.getLogger("mlxd")


def run(settings: Config, default_set_by: str | None = None) -> None:
    """Serve until a signal says otherwise; the caller holds the lock of this home.

    `default_set_by` names the variable or flag that sets the default model, if one does.

    Raises:
        StartupError: nothing was started, and the message says why.
        ServingFailed: it cannot go on.
    """
    _allow_many_connections()
    uvloop.run(Daemon(settings, default_set_by).live())


def _allow_many_connections() -> None:
    """Raise this process's own limit on open files: shells and launchd give 256 on macOS."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Daemon:
    """One daemon: its listeners, its catalog, its pool and its downloads."""

    def __init__(self, settings: Config, default_set_by: str | None = None) -> None:
        self._config = settings
        self._default_set_by = default_set_by
        self._catalog = Catalog(settings.models)
        self._selection = Selection(self._catalog, settings)
        self._pool = Pool(settings)
        self._pulls = Pulls(paths.models_dir(), self._pool.admission.limit)
        self._stop_asked = asyncio.Event()
        self._socket = settings.socket_file()

    async def live(self) -> None:
        """Take over or bind the sockets, serve, drain, and leave nothing behind.

        Raises:
            ConfigError: an activated socket can be reached from other machines, without a key.
            StartupError: a socket cannot be bound.
            ServingFailed: a server has ended by itself.
        """
        server = self._config.server
        activated = activation.take()
        with contextlib.ExitStack() as stack:
            for listener in activated.tcp:
                check_host(self._config, listener.getsockname()[0])
            tcp = activated.tcp or listeners.tcp(server.host, server.port)
            for listener in tcp:
                stack.enter_context(listener)
            if activated.local is None:
                local = stack.enter_context(listeners.unix(self._socket))
                stack.callback(self._socket.unlink, missing_ok=True)
            else:
                local = stack.enter_context(activated.local)
                self._socket = Path(local.getsockname())
            await self._serve(tcp, local, activated)

    async def _serve(
        self,
        tcp: list[socket.socket],
        local: socket.socket,
        activated: Activated,
    ) -> None:
        removal.sweep()
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop_asked.set)
        url = _url(tcp[0])
        dependencies = Dependencies(
            config=self._config,
            catalog=self._catalog,
            pool=self._pool,
            control=Control(
                status=StatusReporter(self._catalog, self._pool, url=url, socket_file=self._socket),
                catalog=CatalogControl(self._catalog, self._pool),
                aliases=AliasControl(self._catalog),
                memory=MemoryControl(
                    self._catalog, self._selection, self._pool, self._default_set_by
                ),
                pulls=PullsControl(self._pulls),
            ),
        )
        public, control = HttpServer(public_app(dependencies)), HttpServer(unix_app(dependencies))
        serving = [loop.create_task(public.serve(tcp)), loop.create_task(control.serve([local]))]
        _log.info("mlxd %s serves %s and %s", __version__, url, self._socket)
        self._warn_of_what_is_missing()
        self._pool.open()
        self._pulls.resume()

        reasons = [loop.create_task(self._stop_asked.wait())]
        if activated and self._config.server.idle_exit is not None:
            reasons.append(loop.create_task(self._idleness(public)))
        await asyncio.wait([*reasons, *serving], return_when=asyncio.FIRST_COMPLETED)
        for reason in reasons:
            reason.cancel()
        await self._pulls.close()
        grace = _LAST_WORDS_SECONDS
        if not any(task.done() for task in serving):
            # Of the public ones first: through the other people look and wait for the end.
            kept = [public] * bool(activated.tcp) + [control] * bool(activated.local)
            grace = max(grace, await self._drain(kept))
        await self._pool.close()

        for server in (public, control):
            server.stop(grace)
        await asyncio.wait(serving)
        for task in serving:
            if error := task.exception():
                _log.error("a server has failed, and so the daemon ends", exc_info=error)
                raise ServingFailed(f"a server has failed: {error!r}")
        _log.info("mlxd has stopped")

    def _warn_of_what_is_missing(self) -> None:
        """Say early which names of the configuration are those of nothing."""
        if self._config.models.default and self._catalog.default() is None:
            _log.warning("the default model %r does not exist", self._config.models.default)
        entries = {entry.id for entry in self._catalog.entries()}
        for name in self._config.model:
            if name not in entries:
                _log.warning("%s: there is no model with this id", dotted((PER_MODEL, name)))
                continue
            try:
                self._selection.draft(self._selection.model(name))  # which warns by itself
            except (ModelNotFound, LoadFailed) as error:
                _log.warning("%s", error.message)

    async def _idleness(self, public: HttpServer) -> Literal[True]:
        """Return when nothing has been loaded or asked for in `server.idle_exit`.

        Who only looks through the Unix socket, as `mlxctl status` does, keeps no daemon awake.
        """

        def asked() -> int | None:
            if (
                self._pool.requests
                or any(model.resident for model in self._pool.models)
                or any(pull.running for pull in self._pulls.pulls)
                or public.busy
            ):
                return None
            return public.requests

        seconds = self._config.server.idle_exit or 0.0
        await until_idle(seconds, asked)
        _log.info("nothing was asked for in %g s (server.idle_exit)", seconds)
        return True

    async def _drain(self, kept: Sequence[HttpServer]) -> float:
        """Let what runs finish within the drain timeout, or until a second signal.

        Connections to the servers of `kept`, whose sockets somebody else keeps, wait for the next
        daemon. Gives how many seconds are left.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + (seconds := self._config.server.drain_timeout)
        _log.info("stopping: waiting at most %g s for %d requests", seconds, self._pool.requests)
        self._stop_asked.clear()

        async def drain() -> None:
            self._pool.announce_drain()
            for server in kept:
                await server.hand_over(end - loop.time())
            await self._pool.drain(end - loop.time())

        drained = loop.create_task(drain())
        hurried = loop.create_task(self._stop_asked.wait())
        await asyncio.wait([drained, hurried], return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        hurried.cancel()
        return 0.0 if self._stop_asked.is_set() else end - loop.time()


def _url(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
