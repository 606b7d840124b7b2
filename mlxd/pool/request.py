"""One accepted request on its way: its turn, its model, its engine, and once a second try."""

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from mlxd.errors import Draining, EngineDied, LoadFailed
from mlxd.messages import ChoiceEvent, GenerateRequest, PrefillProgress, Started
from mlxd.models.catalog import CatalogEntry
from mlxd.pool.engine_process import EngineProcess
from mlxd.pool.engine_request import EngineRequest
from mlxd.pool.model import Model, State
from mlxd.pool.timing import Timing


class Lender(Protocol):
    """What a request needs of the pool that accepted it."""

    @property
    def closed(self) -> bool:
        """Whether the engines have been ended for good."""

    def model(self, entry: CatalogEntry) -> Model:
        """Return the model of `entry`."""

    def lease(
        self, entry: CatalogEntry, keep_alive: float | None = None
    ) -> AbstractAsyncContextManager[EngineProcess]:
        """Hold a model in memory, once there is room for it."""

    def forget(self, request: "ActiveRequest") -> None:
        """Count `request` as ended."""


class ActiveRequest:
    """The events of a request, in lists as they come; to be read by one task, then closed.

    A request whose engine dies is run again, once, on a new engine; its events then begin anew
    with `Started`. But not one that streams (`stream`) and has shown something of its answer.
    `timing` knows how long its parts took.
    """

    def __init__(
        self,
        pool: Lender,
        entry: CatalogEntry,
        requests: Sequence[GenerateRequest],
        *,
        stream: bool,
        keep_alive: float | None = None,
    ) -> None:
        self.timing = Timing()
        self._pool = pool
        self._entry = entry
        self._requests = requests
        self._stream = stream
        self._keep_alive = keep_alive
        self._held = contextlib.AsyncExitStack()
        self._generation: EngineRequest | None = None
        self._prefill: PrefillProgress | None = None
        self._letting_go: asyncio.Task[None] | None = None
        self._answered = self._retried = self._closed = False

    def __aiter__(self) -> "ActiveRequest":
        """Iterate over lists of events; none is empty and the last one ends the last choice."""
        return self

    async def __anext__(self) -> list[ChoiceEvent]:
        """Give what has come.

        Raises:
            MlxdError: the request cannot be answered (any more).
        """
        while not self._closed:
            try:
                events = await self._next_events()
            except (EngineDied, LoadFailed) as error:
                await self._let_go()
                if self._pool.closed:
                    raise Draining("the daemon is stopping") from None
                if self._is_final(error):
                    raise
                self._retried, self._answered = True, False
                self.timing.again()
                continue
            if not events:
                break
            self._note(events)
            return events
        await self.aclose()
        raise StopAsyncIteration

    def _is_final(self, error: EngineDied | LoadFailed) -> bool:
        shown = self._stream and self._answered
        return shown or self._retried or isinstance(error, LoadFailed)

    @property
    def progress(self) -> str:
        """Where the request is, in a few words."""
        if self._prefill is not None:
            return f"prefill {self._prefill.done}/{self._prefill.total}"
        if self._answered:
            return "decoding"
        model = self._pool.model(self._entry)
        if model.state is State.LOADING:
            return f"loading {model.load_progress:.0%}"
        return "queued"

    async def aclose(self) -> None:
        """Abort what has not ended and let go of the model; any number of times."""
        self._closed = True
        await self._let_go()
        self._pool.forget(self)

    async def _next_events(self) -> list[ChoiceEvent]:
        if self._generation is None:
            engine = await self._held.enter_async_context(
                self._pool.lease(self._entry, self._keep_alive)
            )
            self._generation = engine.generate(self._requests)
            self._generation.on_end = self._let_go_of_model
        return await self._generation.next_events()

    def _let_go_of_model(self) -> None:
        """Let go as soon as the engine is done: a client that does not read holds no model."""
        held, self._held = self._held, contextlib.AsyncExitStack()
        self._letting_go = asyncio.get_running_loop().create_task(held.aclose())

    async def _let_go(self) -> None:
        generation, self._generation, self._prefill = self._generation, None, None
        if generation is not None:
            generation.close()
        if self._letting_go is not None:
            await self._letting_go
        held, self._held = self._held, contextlib.AsyncExitStack()
        await held.aclose()

    def _note(self, events: list[ChoiceEvent]) -> None:
        self.timing.note(events)
        for _, event in events:
            if isinstance(event, PrefillProgress):
                self._prefill = event
            elif isinstance(event, Started):
                self._prefill = PrefillProgress(event.id, event.cached_tokens, event.prompt_tokens)
            else:
                self._answered, self._prefill = True, None
