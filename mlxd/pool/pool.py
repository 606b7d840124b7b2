"""Every model that was requested, and every request that was accepted."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from mlxd import sysctl
from mlxd.config import Config, EngineConfig, GenerationConfig
from mlxd.errors import Draining, QueueFull
from mlxd.generate_request import GenerateRequest
from mlxd.metrics.metrics import Metrics
from mlxd.models.catalog import Adapter, CatalogEntry
from mlxd.pool.admission import Admission
from mlxd.pool.engine_process import EngineProcess
from mlxd.pool.launcher import EngineLauncher
from mlxd.pool.model import Launch, Model, State
from mlxd.pool.request import ActiveRequest
from mlxd.pool.watchdog import check
from mlxd.units import size

_LIMIT_OF_CONTROL_GROUP = Path("/sys/fs/cgroup/memory.max")
_LARGE_MAC = 36 * 2**30

_log = logging.getLogger("mlxd.models")


class Pool:
    """Loads models and runs requests on them.

    `launch` starts engines; by default they are as the configuration says. `draining` is whether
    the daemon is stopping, `closed` whether the engines were stopped for good.
    """

    def __init__(
        self, config: Config, launch: Launch | None = None, metrics: Metrics | None = None
    ) -> None:
        self._config = config
        self.metrics = metrics or Metrics()
        self._models: dict[tuple[str, Adapter | None], Model] = {}
        self.admission = Admission(
            self._models.values(),
            config.models.memory_limit or memory_for_models(),
            config.models.max_loaded,
        )
        self._launcher = EngineLauncher(config)
        self._launch = launch or self._launcher.launch
        self._requests: set[ActiveRequest] = set()
        self._no_requests = asyncio.Event()
        self._no_requests.set()
        self.draining = self.closed = self._refusing = False

    def configure(self, config: Config) -> None:
        """Take a changed configuration; a model takes [engine] when it is next loaded."""
        if config.models.memory_limit != self._config.models.memory_limit:
            self.admission.limit = config.models.memory_limit or memory_for_models()
        self._config = config
        self.admission.max_loaded = config.models.max_loaded
        self._launcher.configure(config)
        for model in self._models.values():
            model.configure(config)
        self.admission.notify()

    def open(self) -> None:
        """Start a spare engine, if the configuration asks for one."""
        _log.info("memory for models: %s (models.memory_limit)", size(self.admission.limit))
        self._launcher.keep_spare()

    @property
    def models(self) -> list[Model]:
        """Every model that was requested since the start."""
        return list(self._models.values())

    @property
    def requests(self) -> int:
        """How many accepted requests have not ended."""
        return len(self._requests)

    def submit(
        self,
        entry: CatalogEntry,
        requests: Sequence[GenerateRequest],
        *,
        stream: bool = False,
        keep_alive: float | None = None,
        arrived: float | None = None,
    ) -> ActiveRequest:
        """Accept a request; from now on it ends with its answer or with an error.

        `requests` has one for each choice, and `stream` tells whether the client sees events as
        they come. The model stays in memory for `keep_alive` seconds afterwards: -1 is for ever,
        and None as long as before. It `arrived` at that time of `time.monotonic`, None for now.

        Raises Draining, and QueueFull if `server.max_queue` choices of others have not ended.
        """
        if self._refusing:
            raise Draining("the daemon is stopping")
        limit = self._config.server.max_queue
        others = sum(each.choices for each in self._requests)
        if others and others + len(requests) > limit:
            raise QueueFull(f"{limit} requests are waiting or running (server.max_queue)")
        request = ActiveRequest(
            self, entry, requests, stream=stream, keep_alive=keep_alive, arrived=arrived
        )
        self._requests.add(request)
        self._no_requests.clear()
        return request

    def model(self, entry: CatalogEntry) -> Model:
        """Return the model of `entry`; with another adapter it is another model.

        While it is in memory, or requests wait for it, it stays the same even if its files change.
        """
        key = (entry.id, entry.adapter)
        model = self._models.get(key)
        kept = model is not None and (model.resident or self.admission.has_waiters(model))
        if model is None or (model.entry != entry and not kept):
            model = Model(
                entry,
                self._launch,
                self._config,
                self._state_changed,
                self._memory_changed,
                self.metrics,
            )
            self._models[key] = model
        return model

    def engine_settings(self, entry: CatalogEntry) -> EngineConfig:
        """Return how the engine of a model is configured."""
        return self._config.engine_for(entry.id)

    def generation_settings(self, entry: CatalogEntry) -> GenerationConfig:
        """Return what requests for a model get where they say nothing."""
        return entry.sampling.fill(self._config.for_model(entry.id).generation)

    @contextlib.asynccontextmanager
    async def lease(
        self, entry: CatalogEntry, keep_alive: float | None = None
    ) -> AsyncIterator[EngineProcess]:
        """Wait for room for a model, load it if needed, and hold it in memory; see `submit`.

        Raises Draining, InsufficientMemory, LoadFailed, or EngineDied if it crashes meanwhile.
        """
        model = self.model(entry)
        model.check()
        await self.admission.acquire(model)
        try:
            engine = await model.ready()
            if keep_alive is not None:
                model.keep(keep_alive)
            yield engine
        finally:
            self.admission.release(model)

    async def healthy(self) -> None:
        """Raise Draining if the daemon is stopping, EngineDied if an engine does not answer."""
        if self.draining:
            raise Draining("the daemon is stopping")
        for model in self.models:
            if model.engine is not None:
                await check(model.engine.link)

    def announce_drain(self) -> None:
        """Report that the daemon is stopping; requests that still come are accepted."""
        self.draining = True

    async def drain(self, seconds: float) -> None:
        """Accept nothing more, and wait at most `seconds` for the accepted requests to end."""
        self.draining = self._refusing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._no_requests.wait()

    async def close(self) -> None:
        """Stop every engine; requests that still run fail with `Draining`."""
        self.draining = self.closed = self._refusing = True
        self.admission.close()
        await self._launcher.close()
        await asyncio.gather(*(model.kill() for model in self._models.values()))

    def forget(self, request: ActiveRequest) -> None:
        """Count `request` as ended."""
        self._requests.discard(request)
        if not self._requests:
            self._no_requests.set()

    def _memory_changed(self, model: Model) -> None:
        self._note_memory()
        self.admission.evict_idle(model)

    def _note_memory(self) -> None:
        links = [model.engine.link for model in self._models.values() if model.engine is not None]
        self.metrics.memory(
            sum(link.memory_bytes for link in links),
            sum(link.prompt_cache_bytes for link in links),
        )

    def _state_changed(self, model: Model) -> None:
        self._note_memory()
        if model.state is State.READY and model.engine is not None:
            if not self._config.models.memory_limit:
                # Metal knows better than the daemon, which does not use Metal, can calculate.
                recommended = model.engine.link.device_memory_bytes
                self.admission.limit = recommended or self.admission.limit
            self.admission.warn_if_over_limit(model)
            self._launcher.keep_spare()
        for each in self.models:
            each.set_budget(self.admission.share(each))
        self.admission.notify()


def memory_for_models() -> int:
    """Return the bytes that all models together may take if the configuration does not say.

    On a Mac that is what Metal recommends: the system's `iogpu.wired_limit_mb`, or else two thirds
    of the memory, three quarters on machines with more than 36 GiB. Elsewhere it is three quarters
    of what this process may have.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if sys.platform == "darwin":
        # Only a Mac can run these lines; no test here does.
        wired = sysctl.number("iogpu.wired_limit_mb") * 2**20
        return wired or (total * 3 // 4 if total > _LARGE_MAC else total * 2 // 3)
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        total = min(total, int(_LIMIT_OF_CONTROL_GROUP.read_text()))
    return total * 3 // 4
