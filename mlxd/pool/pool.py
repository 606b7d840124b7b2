"""Every model that was asked for, and the way of a request to its engine."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

from mlxd.config import Config
from mlxd.errors import Draining, QueueFull
from mlxd.messages import GenerateRequest
from mlxd.models.catalog import Adapter, CatalogEntry
from mlxd.pool.admission import Admission
from mlxd.pool.engine_process import EngineProcess
from mlxd.pool.launcher import EngineLauncher
from mlxd.pool.memory_limit import memory_for_models
from mlxd.pool.model import Launch, Model, Policy, State
from mlxd.pool.request import ActiveRequest
from mlxd.units import size

_log = logging.getLogger("mlxd.models")


class Pool:
    """Loads models and runs requests on them.

    `launch` is how engines are made, from the configuration where it is left out.
    """

    def __init__(self, config: Config, launch: Launch | None = None) -> None:
        self._config = config
        self._models: dict[tuple[str, Adapter | None], Model] = {}
        self.admission = Admission(
            self._models.values(),
            config.models.memory_limit or memory_for_models(),
            config.models.max_loaded,
        )
        self._launcher = EngineLauncher(config, self.admission)
        self._launch = launch or self._launcher.launch
        self._answers: set[ActiveRequest] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = self._refusing = self._closed = False

    def open(self) -> None:
        """Begin: have a spare engine wait, where the configuration asks for one."""
        _log.info("models may take %s (models.memory_limit)", size(self.admission.limit))
        self._launcher.keep_spare()

    @property
    def models(self) -> list[Model]:
        """Every model that was asked for since the start."""
        return list(self._models.values())

    @property
    def requests(self) -> int:
        """How many requests are accepted and have not ended."""
        return len(self._answers)

    def submit(
        self,
        entry: CatalogEntry,
        requests: Sequence[GenerateRequest],
        *,
        stream: bool = False,
        keep_alive: float | None = None,
    ) -> ActiveRequest:
        """Accept a request; from here on it ends with its answer or with an error.

        Args:
            entry: the model.
            requests: one for each choice.
            stream: whether events are shown as they come.
            keep_alive: for how many seconds the model is to stay in memory afterwards, -1 for ever;
                None leaves that as it is.

        Raises:
            Draining: the daemon is stopping.
            QueueFull: `server.max_queue` requests are accepted already.
        """
        if self._refusing:
            raise Draining("the daemon is stopping")
        limit = self._config.server.max_queue
        if len(self._answers) >= limit:
            raise QueueFull(f"{limit} requests are accepted already (server.max_queue)")
        answer = ActiveRequest(self, entry, requests, stream=stream, keep_alive=keep_alive)
        self._answers.add(answer)
        self._empty.clear()
        return answer

    def model(self, entry: CatalogEntry) -> Model:
        """Give the model of `entry`, known from now on; with another adapter it is another one.

        One that is in memory, or waited for, stays what it is while its files change.
        """
        key = (entry.id, entry.adapter)
        model = self._models.get(key)
        kept = model is not None and (model.resident or self.admission.awaited(model))
        if model is None or (model.entry != entry and not kept):
            model = Model(entry, self._launch, self._policy(entry), self)
            self._models[key] = model
        return model

    @contextlib.asynccontextmanager
    async def lease(
        self, entry: CatalogEntry, keep_alive: float | None = None
    ) -> AsyncIterator[EngineProcess]:
        """Hold a model in memory, once there is room for it.

        `keep_alive` is as in `submit`.

        Raises:
            LoadFailed: it cannot be loaded.
            InsufficientMemory: it does not fit.
            EngineDied: its engine has crashed in the load.
            Draining: the pool has been closed meanwhile.
        """
        model = self.model(entry)
        model.check()
        await self.admission.take(model)
        try:
            engine = await model.ready()
            if keep_alive is not None:
                model.keep(keep_alive)
            yield engine
        finally:
            self.admission.give_back(model)

    async def healthy(self) -> None:
        """Return when requests are accepted, and the loop of every ready engine turns.

        Raises:
            Draining: the daemon is stopping.
            EngineDied: one does not.
        """
        if self._draining:
            raise Draining("the daemon is stopping")
        for model in self.models:
            if model.engine is not None:
                await model.engine.check()

    def announce_drain(self) -> None:
        """Say that the daemon is stopping; requests that reach it all the same are accepted."""
        self._draining = True

    async def drain(self, seconds: float) -> None:
        """Accept nothing more, and wait at most `seconds` for what is accepted to end."""
        self._draining = self._refusing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()

    async def close(self) -> None:
        """End every engine; what still runs ends with `Draining`."""
        self._draining = self._refusing = self._closed = True
        self.admission.close()
        await self._launcher.close()
        await asyncio.gather(*(model.kill() for model in self._models.values()))

    @property
    def draining(self) -> bool:
        """Whether the daemon is stopping."""
        return self._draining

    @property
    def closed(self) -> bool:
        """Whether the engines have been ended for good."""
        return self._closed

    def forget(self, request: ActiveRequest) -> None:
        """Count `request` as ended."""
        self._answers.discard(request)
        if not self._answers:
            self._empty.set()

    def _policy(self, entry: CatalogEntry) -> Policy:
        models = self._config.models
        own = self._config.for_model(entry.id).keep_alive
        return Policy(
            keep_alive=models.keep_alive if own is None else own,
            pinned=entry.id in {models.aliases.get(name, name) for name in models.pinned},
            max_crashes=self._config.engine.max_crashes,
        )

    def state_changed(self, model: Model) -> None:
        """See to what follows from a model's new state."""
        if model.state is State.READY and model.engine is not None:
            if not self._config.models.memory_limit:
                # Metal knows better than the daemon, which has none, could reckon.
                self.admission.limit = model.engine.device_memory_bytes or self.admission.limit
            self.admission.warn_of(model)
            self._launcher.keep_spare()
        self.admission.changed()

    def memory_changed(self, model: Model) -> None:
        """See to what follows from what a model takes."""
        self.admission.check(model)
