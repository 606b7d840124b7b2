"""The life of the daemon, top-down: listen, serve, drain, exit."""

import asyncio
import contextlib
import logging
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import uvloop

from mlxd import __version__, activation, listeners, network, paths
from mlxd.config import Config, CurrentConfig, ServerConfig, changed, check, merged
from mlxd.config.keys import PER_MODEL, dotted
from mlxd.control import Control
from mlxd.control_api import ReloadReply
from mlxd.errors import ConfigError, LoadFailed, ModelNotFound, ServingFailed
from mlxd.http.app import public_app, unix_app
from mlxd.http.caller_limits import Limiter
from mlxd.http.callers import Callers
from mlxd.http.connection_limits import Limits
from mlxd.http.generate import Dependencies
from mlxd.http.intake import Intake
from mlxd.http.key_ring import KeyRing
from mlxd.http.server import HttpServer
from mlxd.http.tls import Certificate
from mlxd.hub.pulls import Pulls
from mlxd.listeners import Listeners
from mlxd.metrics.metrics import Metrics
from mlxd.models import removal
from mlxd.models.catalog import Catalog
from mlxd.models.selection import Selection
from mlxd.pool.pool import Pool
from mlxd.processes import keep_little_freed_memory, return_freed_memory_soon
from mlxd.stored_responses import ResponseStore

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_OPEN_FILES = 8192
_UMASK = 0o077  # files of the daemon and its processes are for their user only
_FILES_BESIDE_TCP = 192  # the Unix socket's connections, engines, downloads, the log
_LAST_WORDS_SECONDS = 1.0

_log = logging.getLogger("mlxd")


def run(
    config: Config,
    default_set_by: str | None = None,
    load: Callable[[], Config] | None = None,
) -> None:
    """Serve until a signal, or until the daemon is idle; the caller holds the lock of this home.

    `default_set_by` names the variable or flag that sets the default model, if one does. `load`
    reads the configuration again, for a reload. Raises StartupError, ConfigError or ServingFailed.
    """
    os.umask(_UMASK)
    keep_little_freed_memory()
    _allow_many_connections()
    with listeners.opened(config, activation.take()) as sockets:
        uvloop.run(Daemon(config, sockets, default_set_by, load).live())


def _allow_many_connections() -> None:
    """Raise this process's own limit on open files: shells and launchd give 256 on macOS."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _limits(server: ServerConfig) -> Limits:
    """Return the limits of connections, which leave enough open files for everything else."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = soft - _FILES_BESIDE_TCP if soft != resource.RLIM_INFINITY else server.max_connections
    return Limits(
        connections=max(1, min(server.max_connections, room)),
        head_seconds=server.head_timeout,
        body_seconds=server.body_timeout,
        read_seconds=server.read_timeout,
    )


def _servers(server: ServerConfig, dependencies: Dependencies) -> tuple[HttpServer, HttpServer]:
    """Return the server for TCP and the one for the Unix socket."""
    limits, most = _limits(server), server.max_body
    public = HttpServer(public_app(dependencies), limits, max_message=most)
    if server.tls_cert:
        public.use_tls(Certificate(server.tls_cert, server.tls_key).context)
    limits = replace(limits, connections=None)
    return public, HttpServer(unix_app(dependencies), limits, max_message=most)


def _return_memory_soon() -> None:
    return_freed_memory_soon(asyncio.get_running_loop())


class Daemon:
    """One daemon: its catalog, its pool, its downloads and its two HTTP servers."""

    def __init__(
        self,
        config: Config,
        sockets: Listeners,
        default_set_by: str | None = None,
        load: Callable[[], Config] | None = None,
    ) -> None:
        self._current = CurrentConfig(config)
        self._load = load
        self._reloading = asyncio.Lock()
        self._hangups: set[asyncio.Task[None]] = set()
        self._sockets = sockets
        self._catalog = Catalog(config.models, config.trusts)
        self._selection = Selection(self._catalog, config)
        metrics = Metrics()
        self._pool = Pool(config, metrics=metrics)
        reach = network.variables(os.environ) | config.hub.variables()
        self._pulls = Pulls(
            paths.models_dir(),
            self._pool.admission.limit,
            config.hub.connections,
            variables=reach,
            metrics=metrics,
        )
        ring = KeyRing(paths.keys_file(), paths.key_uses_file())
        self._callers = callers = Callers(config.server.api_key, ring)
        control = Control(
            self._catalog,
            self._selection,
            self._pool,
            self._pulls,
            url=sockets.url,
            network=network.shown(reach),
            socket_file=sockets.socket_file,
            prompt_cache_disk=config.engine.prompt_cache_disk,
            default_set_by=default_set_by,
            reload=self.reload,
            page_token=callers.page_token,
            activity=metrics.activity,
        )
        kept = config.responses
        self._responses = ResponseStore(
            paths.responses_dir(),
            key=config.server.api_key,
            max_bytes=kept.max_bytes,
            max_age=kept.max_age,
        )
        self._intake = Intake(
            config.server.max_queue, config.server.max_queue_size, _return_memory_soon
        )
        self._limiter = Limiter(config.limits)
        dependencies = Dependencies(
            config=self._current,
            catalog=self._catalog,
            selection=self._selection,
            pool=self._pool,
            control=control,
            responses=self._responses,
            callers=callers,
            limiter=self._limiter,
            intake=self._intake,
            metrics=metrics,
        )
        self._public, self._local = _servers(config.server, dependencies)
        self._stop_asked = asyncio.Event()

    @property
    def _config(self) -> Config:
        return self._current.now

    async def live(self) -> None:
        """Serve until there is a reason to stop, then drain and stop."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop_asked.set)
        if not os.isatty(0):  # a terminal that is closed ends what runs in it
            loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        removal.sweep()
        self._responses.sweep()
        serving = [
            loop.create_task(self._public.serve(self._sockets.tcp)),
            loop.create_task(self._local.serve([self._sockets.local])),
        ]
        url, socket_file = self._sockets.url, self._sockets.socket_file
        _log.info("mlxd %s serves %s and %s", __version__, url, socket_file)
        with contextlib.suppress(LoadFailed):
            await self._catalog.refresh()
            self._warn_of_missing_models()
        self._pool.open()
        self._pulls.resume()
        await self._until_reason_to_stop(serving)
        await self._stop(serving)

    async def reload(self) -> ReloadReply:
        """Read the configuration again, and apply the keys that need no restart.

        Raises ConfigError, without any change.
        """
        async with self._reloading:
            if self._load is None:
                raise ConfigError("this daemon cannot read its configuration again")
            read = await asyncio.to_thread(self._load)
            taken, restart = changed(self._config, read)
            config = merged(self._config, read)
            # The keys that were applied may not go together with those that need a restart.
            await asyncio.to_thread(check, config)
            self._current.now = config
            self._catalog.configure(config.models, config.trusts)
            self._selection.configure(config)
            self._pool.configure(config)
            self._intake.configure(config.server.max_queue, config.server.max_queue_size)
            self._limiter.configure(config.limits)
            self._callers.configure(config.server.api_key)
            kept = config.responses
            self._responses.configure(
                key=config.server.api_key, max_bytes=kept.max_bytes, max_age=kept.max_age
            )
            limits, most = _limits(config.server), config.server.max_body
            self._public.limit(limits, most)
            self._local.limit(replace(limits, connections=None), most)
            logging.getLogger().setLevel(config.log.level.upper())
        _log.info("the configuration was read again; changed: %s", ", ".join(taken) or "nothing")
        if restart:
            _log.warning("a restart is needed for %s", ", ".join(restart))
        return ReloadReply(taken=taken, restart=restart)

    def _reload_soon(self) -> None:
        async def reload() -> None:
            try:
                await self.reload()
            except ConfigError as error:
                _log.error("the configuration was not read again: %s", error.message)

        self._hangups.add(task := asyncio.get_running_loop().create_task(reload()))
        task.add_done_callback(self._hangups.discard)

    def _warn_of_missing_models(self) -> None:
        """Warn of configured names that match no installed model or adapter."""
        if self._config.models.default and self._catalog.default() is None:
            _log.warning("the default model %r does not exist", self._config.models.default)
        entries = {entry.id for entry in self._catalog.entries()}
        for name in self._config.model:
            if name not in entries:
                _log.warning("%s: there is no model with this ID", dotted((PER_MODEL, name)))
                continue
            try:
                self._selection.draft(self._selection.model(name))  # which warns by itself
            except (ModelNotFound, LoadFailed) as error:
                _log.warning("%s", error.message)

    async def _until_reason_to_stop(self, serving: list[asyncio.Task[None]]) -> None:
        """Wait for a signal, for idleness if a service manager keeps sockets, or for a failure."""
        loop = asyncio.get_running_loop()
        reasons: list[asyncio.Task[Any]] = [loop.create_task(self._stop_asked.wait())]
        idle_exit = self._config.server.idle_exit
        if self._sockets.activated and idle_exit is not None:
            reasons.append(loop.create_task(until_idle(idle_exit, self._activity)))
        await asyncio.wait([*reasons, *serving], return_when=asyncio.FIRST_COMPLETED)
        for reason in reasons:
            reason.cancel()

    def _activity(self) -> int | None:
        """Return the number of requests so far, or None while something is loaded or running.

        Requests on the Unix socket, such as those of `mlxctl status`, do not count.
        """
        if (
            self._pool.requests
            or any(model.resident for model in self._pool.models)
            or any(pull.running for pull in self._pulls.pulls)
            or self._public.busy
        ):
            return None
        return self._public.requests

    async def _stop(self, serving: list[asyncio.Task[None]]) -> None:
        # End the downloads; the next daemon resumes them.
        await self._pulls.close()

        # Let requests finish, unless a server has failed and cannot send their replies.
        grace = _LAST_WORDS_SECONDS
        if not any(task.done() for task in serving):
            grace = max(grace, await self._drain())

        # End the engines. Requests that are still running end with an error.
        await self._pool.close()

        # Close the listeners, and the connections once they have sent what they have.
        self._public.stop(grace)
        self._local.stop(grace)
        await asyncio.wait(serving)
        for task in serving:
            if error := task.exception():
                _log.error("a server has failed, so the daemon stops", exc_info=error)
                raise ServingFailed(f"a server has failed: {error!r}")
        _log.info("mlxd has stopped")

    async def _drain(self) -> float:
        """Let requests finish within the drain timeout or until a second signal.

        Return how many seconds are left.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + (seconds := self._config.server.drain_timeout)
        _log.info("stopping: waiting at most %g s for %d requests", seconds, self._pool.requests)
        self._stop_asked.clear()

        async def drain() -> None:
            self._pool.announce_drain()
            # Connections to sockets that a service manager keeps wait for the next daemon. Those
            # on TCP go first: mlxctl watches the end on the Unix socket.
            if self._sockets.activated.tcp:
                await self._public.hand_over(end - loop.time())
            if self._sockets.activated.local:
                await self._local.hand_over(end - loop.time())
            await self._pool.drain(end - loop.time())

        drained = loop.create_task(drain())
        hurried = loop.create_task(self._stop_asked.wait())
        await asyncio.wait([drained, hurried], return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        hurried.cancel()
        return 0.0 if self._stop_asked.is_set() else end - loop.time()


async def until_idle(seconds: float, activity: Callable[[], int | None]) -> None:
    """Return when `activity` has stayed the same number for `seconds`.

    It counts the requests so far; None means that one is running.
    """
    clock = asyncio.get_running_loop().time
    pause = min(max(seconds / 10, 0.02), 10.0)
    since, before = clock(), activity()
    while before is None or clock() < since + seconds:
        await asyncio.sleep(pause)
        if (now := activity()) is None or now != before:
            since, before = clock(), now
    _log.info("no requests for %g s (server.idle_exit)", seconds)
