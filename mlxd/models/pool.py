"""The models in memory, and the way of a request through them.

One model is in memory at a time; `turns.py` says which.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from mlxd.config import Config
from mlxd.errors import Draining, LoadFailed, QueueFull
from mlxd.messages import GenerateRequest, Load
from mlxd.models.answer import Answer
from mlxd.models.catalog import Adapter, Entry
from mlxd.models.engine_process import EngineProcess
from mlxd.models.model import Launch, Model
from mlxd.models.turns import Turns


def launch_from(config: Config) -> Launch:
    """Give the function that starts an engine for a model as `config` says."""

    async def launch(entry: Entry, report: Callable[[float], None]) -> EngineProcess:
        load = Load(
            path=str(entry.path),
            adapter_path=str(entry.adapter.path) if entry.adapter else None,
            decode_concurrency=config.engine.decode_concurrency,
            prompt_concurrency=config.engine.prompt_concurrency,
            prefill_step_size=config.engine.prefill_step_size,
            prompt_cache_bytes=config.engine.prompt_cache,
            trust_remote_code=config.engine.trust_remote_code,
        )
        return await EngineProcess.start(entry.name, load, report)

    return launch


class Pool:
    """Loads models and runs requests on them."""

    def __init__(self, config: Config, launch: Launch | None = None) -> None:
        self._max_queue = config.server.max_queue
        self._keep_alive = config.models.keep_alive
        self._launch = launch or launch_from(config)
        self._models: dict[tuple[str, Adapter | None], Model] = {}
        self._turns = Turns()
        self._answers: set[Answer] = set()
        self._preloads: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = self._closed = False

    @property
    def models(self) -> list[Model]:
        """Every model that was asked for since the start."""
        return list(self._models.values())

    @property
    def requests(self) -> int:
        """How many requests are accepted and have not ended."""
        return len(self._answers)

    def submit(
        self, entry: Entry, requests: Sequence[GenerateRequest], *, stream: bool = False
    ) -> Answer:
        """Accept a request; from here on it ends with its answer or with an error.

        It has one of `requests` for each choice; `stream` says that events are shown as they come.

        Raises:
            Draining: the daemon is stopping.
            QueueFull: `server.max_queue` requests are accepted already.
        """
        if self._draining:
            raise Draining("the daemon is stopping")
        if len(self._answers) >= self._max_queue:
            raise QueueFull(f"{self._max_queue} requests are accepted already (server.max_queue)")
        answer = Answer(self, entry, requests, stream=stream)
        self._answers.add(answer)
        self._empty.clear()
        return answer

    def model(self, entry: Entry) -> Model:
        """Give the model of `entry`, known from now on; with another adapter it is another one."""
        key = (entry.id, entry.adapter)
        if (model := self._models.get(key)) is None or model.entry.path != entry.path:
            model = self._models[key] = Model(entry, self._launch, self._keep_alive)
        return model

    @contextlib.asynccontextmanager
    async def lease(self, entry: Entry) -> AsyncIterator[EngineProcess]:
        """Hold a model in memory, once it is this model's turn.

        Raises:
            LoadFailed: it cannot be loaded.
            Draining: the pool has been closed meanwhile.
        """
        model = self.model(entry)
        await self._turns.take(model)
        try:
            yield await model.ready()
        finally:
            self._turns.give_back(model)

    def preload(self, entry: Entry) -> None:
        """Bring a model into memory without waiting for it."""

        async def load() -> None:
            with contextlib.suppress(LoadFailed):  # the model's state keeps the reason
                async with self.lease(entry):
                    pass

        task = asyncio.get_running_loop().create_task(load())
        self._preloads.add(task)
        task.add_done_callback(self._preloads.discard)

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

    async def drain(self, seconds: float) -> None:
        """Accept nothing more, and wait at most `seconds` for what is accepted to end."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()

    async def close(self) -> None:
        """End every engine; what still runs ends with `Draining`."""
        self._draining = self._closed = True
        self._turns.close()
        for task in list(self._preloads):
            task.cancel()
        await asyncio.gather(*(model.kill() for model in self._models.values()))

    @property
    def draining(self) -> bool:
        """Whether requests are no longer accepted."""
        return self._draining

    @property
    def closed(self) -> bool:
        """Whether the engines have been ended for good."""
        return self._closed

    def forget(self, answer: Answer) -> None:
        """Count `answer` as ended."""
        self._answers.discard(answer)
        if not self._answers:
            self._empty.set()
