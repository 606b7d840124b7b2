"""One accepted request: it waits for its model, runs on its engine, and is retried once.

When an engine dies, any of its requests may be the cause. So they run again on trial: one at a
time, while no new request starts, each until it has got further than before. If the engine dies
again, the request on trial is the cause and fails, and the others run once more. If a client sends
a suspected request again, it runs once and alone, or not at all (`suspects.py`).
"""

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from mlxd.errors import Draining, EndsEngine, EngineDied, LoadFailed, NotAlone
from mlxd.generate_request import GenerateRequest
from mlxd.messages import ChoiceEvent, PrefillProgress, Queued, Started
from mlxd.metrics.metrics import Metrics
from mlxd.metrics.request_meter import RequestMeter
from mlxd.models.catalog import CatalogEntry
from mlxd.pool.engine_link import EngineRequest
from mlxd.pool.engine_process import EngineProcess
from mlxd.pool.model import Model, State

_ALONE_SECONDS = 60.0


class _Pool(Protocol):
    """What a request needs of the `Pool` that accepted it."""

    closed: bool
    metrics: Metrics

    def model(self, entry: CatalogEntry) -> Model: ...
    def lease(
        self, entry: CatalogEntry, keep_alive: float | None = None
    ) -> AbstractAsyncContextManager[EngineProcess]: ...
    def forget(self, request: "ActiveRequest") -> None: ...


class ActiveRequest:
    """The events of a request, in lists as they come; one task reads them, then closes it.

    A request whose engine dies runs again, once, on a new engine; its events then start again with
    `Started`. A request with `stream` runs again only if nothing of its answer was shown. `meter`
    measures it, from when it `arrived`; `choices` is how many answers it asks for.
    """

    def __init__(
        self,
        pool: _Pool,
        entry: CatalogEntry,
        requests: Sequence[GenerateRequest],
        *,
        stream: bool,
        keep_alive: float | None = None,
        arrived: float | None = None,
    ) -> None:
        self.meter = RequestMeter(pool.metrics, entry.id, arrived)
        self.choices = len(requests)
        self._pool = pool
        self._entry = entry
        self._requests = requests
        self._stream = stream
        self._keep_alive = keep_alive
        self._held = contextlib.AsyncExitStack()
        self._engine_request: EngineRequest | None = None
        self._prefill: PrefillProgress | None = None
        self._place = 0
        self._releasing: asyncio.Task[None] | None = None
        self._closed = False
        self._answered = False  # a part of the answer has come
        self._retried = False  # it gets no further try
        self._innocent = False  # its last engine died of another request
        self._suspected = False  # until it gets further than before
        self._trial = contextlib.AsyncExitStack()
        self._pieces = self._pieces_before = 0  # of the answer, in this try and in the one before

    def __aiter__(self) -> "ActiveRequest":
        """Iterate over lists of events; none is empty, and the last one ends the last choice."""
        return self

    async def __anext__(self) -> list[ChoiceEvent]:
        """Return the events that have come, or raise the MlxdError that ended the request."""
        while not self._closed:
            try:
                events = await self._next_events()
            except (EngineDied, LoadFailed) as error:
                if self._engine_request is not None and not self._pool.closed:
                    self._suspect(self._engine_request)
                await self._release()
                if self._pool.closed:
                    raise Draining("the daemon is stopping") from None
                if self._is_final(error):
                    raise
                self._retried, self._answered = not self._innocent, False
                self._pieces, self._pieces_before = 0, self._pieces
                self.meter.restart()
                continue
            if events:
                self._note(events)
            if self._pieces > self._pieces_before or not events:
                await self._end_trial()
            if not events:
                break
            return events
        await self.aclose()
        raise StopAsyncIteration

    def _is_final(self, error: EngineDied | LoadFailed) -> bool:
        shown = self._stream and self._answered
        again = self._retried and not self._innocent
        return shown or again or isinstance(error, LoadFailed)

    @property
    def progress(self) -> str:
        """What the request waits for or does, in a few words."""
        if self._prefill is not None:
            return f"prefill {self._prefill.done}/{self._prefill.total}"
        if self._answered:
            return "decoding"
        model = self._pool.model(self._entry)
        if model.state is State.LOADING:
            return f"loading {model.load_progress:.0%}"
        return f"queued {self._place}" if self._place else "queued"

    async def aclose(self) -> None:
        """Abort what has not ended and release the model; may be called again."""
        self._closed = True
        try:
            await self._release()
        finally:
            self._pool.forget(self)

    async def _next_events(self) -> list[ChoiceEvent]:
        if self._engine_request is None:
            model = self._pool.model(self._entry)
            if not self._retried:
                await self._check_suspicion(model)
            if self._retried:
                await self._trial.enter_async_context(model.trials.begin())
            else:
                await model.trials.over()
            engine = await self._held.enter_async_context(
                self._pool.lease(self._entry, self._keep_alive)
            )
            self._engine_request = engine.link.generate(self._requests)
            self._engine_request.on_trial = self._retried
            self._engine_request.on_end = self._release_model
        return await self._engine_request.next_events()

    async def _check_suspicion(self, model: Model) -> None:
        """Refuse a request that ended an engine; let one that may have done so wait to be alone."""
        suspicion = model.suspects.find(self._requests)
        if suspicion is None:
            return
        if suspicion.proven:
            minutes = model.suspects.minutes_left(suspicion)
            raise EndsEngine(
                f"this request ended the engine of {self._entry.name}, and is not run again for "
                f"{minutes} min"
            )
        self._suspected, self._pieces_before = True, suspicion.pieces
        if suspicion.strong:
            self._retried = True
            try:
                async with asyncio.timeout(_ALONE_SECONDS):
                    while model.leases:
                        await model.idle.wait()
            except TimeoutError:
                raise NotAlone(
                    "this request may have ended an engine, and is run only while no other is"
                ) from None

    def _suspect(self, engine_request: EngineRequest) -> None:
        """Note that the engine died while this request ran on it."""
        suspects = self._pool.model(self._entry).suspects
        self._suspected = True
        if engine_request.on_trial:
            suspects.prove(self._requests)
        elif not engine_request.innocent:
            suspects.add(self._requests, self._pieces, alone=engine_request.alone)

    def _release_model(self) -> None:
        """Release the model once the engine is done, even if the client is still reading."""
        releasing = self._held.pop_all().aclose()
        self._releasing = asyncio.get_running_loop().create_task(releasing)

    async def _end_trial(self) -> None:
        if self._engine_request is not None:
            self._engine_request.on_trial = False
        if self._suspected:
            self._suspected = False
            self._pool.model(self._entry).suspects.clear(self._requests)
        await self._trial.aclose()

    async def _release(self) -> None:
        engine_request, self._engine_request, self._prefill = self._engine_request, None, None
        await self._trial.aclose()
        if engine_request is not None:
            self._innocent = engine_request.innocent
            engine_request.close()
        if self._releasing is not None:
            await asyncio.shield(self._releasing)  # it goes on if this task is cancelled meanwhile
        await self._held.aclose()

    def _note(self, events: list[ChoiceEvent]) -> None:
        self.meter.note(events)
        for _, event in events:
            if isinstance(event, Queued):
                self._place = event.place
            elif isinstance(event, PrefillProgress):
                self._prefill = event
            elif isinstance(event, Started):
                self._prefill = PrefillProgress(event.id, event.cached_tokens, event.prompt_tokens)
            else:
                self._answered, self._prefill = True, None
                self._pieces += 1
