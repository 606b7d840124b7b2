"""The life of the daemon, top-down: lock, bind, serve, signal, drain, exit."""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import time

import uvicorn
import uvloop
from starlette.types import ASGIApp

from mlxd import __version__, config, listeners, lock, paths
from mlxd.api import control
from mlxd.config import Config
from mlxd.config.keys import PER_MODEL, dotted
from mlxd.errors import EngineDied, LoadFailed, ModelNotFound
from mlxd.http.app import public_app, unix_app
from mlxd.http.context import Context
from mlxd.http.selection import Selection
from mlxd.models.catalog import Catalog
from mlxd.models.model import Model, State
from mlxd.models.pool import Pool

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_MEMORY_ANSWER_SECONDS = 0.05
_OPEN_FILES = 8192
_LIVELINESS = (State.UNLOADED, State.FAILED, State.DRAINING, State.LOADING, State.READY)

_log = logging.getLogger("mlxd")


def run(settings: Config) -> None:
    """Serve until a signal says otherwise.

    Raises:
        StartupError: nothing was started, and the message says why.
    """
    _allow_many_connections()
    with lock.hold(paths.lock_file()):
        uvloop.run(Daemon(settings).live())


def _allow_many_connections() -> None:
    """Raise this process's own limit on open files: shells and launchd give 256 on macOS."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Daemon:
    """One daemon: its listeners, its pool, and what `mlxctl` asks of it."""

    def __init__(self, settings: Config) -> None:
        self._config = settings
        self._catalog = Catalog(settings.models)
        self._selection = Selection(self._catalog, settings)
        self._started = time.monotonic()
        self._stop_asked = asyncio.Event()
        self._url = ""
        self._socket = settings.socket_file()

    async def live(self) -> None:
        """Bind, serve, drain, and leave nothing behind.

        Raises:
            StartupError: a socket cannot be bound.
        """
        server = self._config.server
        tcp = listeners.tcp(server.host, server.port)
        with contextlib.ExitStack() as stack:
            for listener in tcp:
                stack.enter_context(listener)
            local = stack.enter_context(listeners.unix(self._socket))
            stack.callback(self._socket.unlink, missing_ok=True)
            self._url = _url(tcp[0])
            self._pool = Pool(self._config)
            await self._serve(tcp, local)

    async def _serve(self, tcp: list[socket.socket], local: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        context = Context(
            config=self._config,
            catalog=self._catalog,
            pool=self._pool,
            status=self._status,
            models=self._models,
            use=self._use,
        )
        servers = [
            (_Server(public_app(context)), tcp),
            (_Server(unix_app(context)), [local]),
        ]
        serving = [loop.create_task(server.serve(sockets)) for server, sockets in servers]
        _log.info("mlxd %s serves %s and %s", __version__, self._url, self._socket)
        self._warn_of_what_is_missing()

        await self._stop_asked.wait()
        self._stop_asked.clear()
        await self._drain()

        for server, _ in servers:
            server.stop()
        await asyncio.gather(*serving)
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

    def _on_signal(self) -> None:
        self._stop_asked.set()

    async def _drain(self) -> None:
        """Let what runs finish within the drain timeout; a second signal cuts it short."""
        seconds = self._config.server.drain_timeout
        _log.info("stopping: waiting at most %g s for %d requests", seconds, self._pool.requests)
        drained = asyncio.ensure_future(self._pool.drain(seconds))
        hurried = asyncio.ensure_future(self._stop_asked.wait())
        await asyncio.wait([drained, hurried], return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        hurried.cancel()
        await self._pool.close()

    async def _status(self) -> control.Status:
        await asyncio.gather(*(self._refresh_memory(model) for model in self._pool.models))
        default = self._catalog.default()
        return control.Status(
            running=True,
            pid=os.getpid(),
            version=__version__,
            url=self._url,
            socket=str(self._socket),
            config=str(paths.config_file()),
            settings=str(paths.settings_file()),
            models_dir=str(paths.models_dir()),
            adapters_dir=str(paths.adapters_dir()),
            log=str(paths.log_file()),
            uptime_s=round(time.monotonic() - self._started, 3),
            default_model=default.id if default else None,
            models=[
                control.ModelStatus(
                    id=model.entry.id,
                    adapter=model.entry.adapter.name if model.entry.adapter else None,
                    state=model.state,
                    pid=model.engine.pid if model.engine else None,
                    memory_bytes=model.engine.memory_bytes if model.engine else None,
                    requests=model.leases,
                    cause=model.cause,
                )
                for model in self._pool.models
            ],
        )

    async def _refresh_memory(self, model: Model) -> None:
        """Ask an engine for its memory; one that is busy keeps the figure it had."""
        if model.engine is not None:
            with contextlib.suppress(TimeoutError, EngineDied):
                await model.engine.ping(_MEMORY_ANSWER_SECONDS)

    def _models(self) -> control.ModelList:
        # With and without its adapters a model may be in several states: the liveliest is shown.
        by_life = sorted(self._pool.models, key=lambda model: _LIVELINESS.index(model.state))
        states = {model.entry.id: str(model.state) for model in by_life}
        default = self._catalog.default()
        return control.ModelList(
            models=[
                control.CatalogModel(
                    id=entry.id,
                    path=str(entry.path),
                    size_bytes=entry.size_bytes,
                    architecture=entry.architecture,
                    quantization=entry.quantization,
                    context_length=entry.context_length,
                    state=states.get(entry.id, "unloaded"),
                    default=default is not None and entry.id == default.id,
                )
                for entry in self._catalog.entries()
            ]
        )

    async def _use(self, name: str) -> control.UseReply:
        """Make a model the default, now and after a restart, and start to load it.

        Raises:
            ModelNotFound: there is no such model, and nothing was changed.
            LoadFailed: its configured adapter does not exist, and nothing was changed.
            ConfigError: settings.toml cannot be written, and nothing was changed.
        """
        entry = self._selection.model(name)
        config.write_settings({"models.default": entry.id})
        self._catalog.set_default(entry.id)
        self._pool.preload(entry)
        ready = self._pool.model(entry).state is State.READY
        return control.UseReply(model=entry.id, state=State.READY if ready else State.LOADING)


class _Server(uvicorn.Server):
    """uvicorn's server on our sockets: asleep while idle, and without signal handlers."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                # Longer than clients do, so that none is closed while it is used again.
                timeout_keep_alive=75,
                timeout_graceful_shutdown=5,
            )
        )
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Stop accepting, and end once the open connections have ended."""
        self._stopped.set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve `sockets` until `stop`."""
        await self._serve(sockets)

    async def main_loop(self) -> None:
        """Sleep until `stop`; the original wakes up ten times a second."""
        await self.on_tick(0)
        await self._stopped.wait()


def _url(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
