"""One request in flight on an engine, from the daemon's side."""

import asyncio
from collections.abc import Callable

from mlxd.errors import ContextLengthExceeded, GenerationFailed, InvalidRequest, MlxdError
from mlxd.messages import ChoiceEvent, Event, Failed, Finished

_ERRORS: dict[str, type[MlxdError]] = {
    "invalid_request": InvalidRequest,
    "context_length_exceeded": ContextLengthExceeded,
    "generation_failed": GenerationFailed,
}


class EngineRequest:
    """The events of one request in flight, to be read by one task.

    A request has one or more choices, each of them a sequence of the engine; their ids are in a
    row. `on_end` is called once the engine is done with all of them, even if events are still to
    be read.
    """

    def __init__(self, ids: range, abort: Callable[[int], None]) -> None:
        self.on_end: Callable[[], None] | None = None
        self._first = ids.start
        self._running = set(ids)
        self._abort = abort
        self._events: list[ChoiceEvent] = []
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._error: MlxdError | None = None

    async def next_events(self) -> list[ChoiceEvent]:
        """Wait for events and return all that have come; an empty list means the end.

        Raises:
            MlxdError: a sequence failed, or the engine died.
        """
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._ended:
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Abort the sequences that have not ended."""
        if not self._ended:
            self.end()
            self._abort_running()

    def take(self, event: Event) -> None:
        """Take an event from the engine; one sequence that fails ends the others."""
        if isinstance(event, Finished | Failed):
            self._running.discard(event.id)
        if isinstance(event, Failed):
            if not self._ended:
                self.end(_ERRORS[event.kind](event.message, param=event.param))
                self._abort_running()
            return
        self._events.append((event.id - self._first, event))
        self._wake_reader()
        if not self._running:
            self.end()

    def end(self, error: MlxdError | None = None) -> None:
        """End here, with `error` if there is one."""
        if not self._ended:
            self._ended = True
            if self.on_end is not None:
                self.on_end()
        self._error = self._error or error
        self._wake_reader()

    def _abort_running(self) -> None:
        for sequence in self._running:
            self._abort(sequence)

    def _wake_reader(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
