"""One request in flight on an engine, from the daemon's side."""

import asyncio
from collections.abc import Callable

from mlxd.errors import MlxdError
from mlxd.messages import ChoiceEvent, Event, Finished


def _nothing() -> None:
    """Do nothing."""


class EngineRequest:
    """The events of one request in flight, to be read by one task.

    A request has one or more choices, each of them a sequence of the engine; their ids are in a
    row. `on_end` is called once the engine is done with all of them, even if events are still to
    be read.
    """

    def __init__(self, ids: range, abort: Callable[[int], None]) -> None:
        self._first = ids.start
        self._running = set(ids)
        self._abort = abort
        self._events: list[ChoiceEvent] = []
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._error: MlxdError | None = None
        self.on_end: Callable[[], None] = _nothing

    async def next_events(self) -> list[ChoiceEvent]:
        """Wait for events and give all that have come; an empty list means the end.

        Raises:
            MlxdError: when a sequence failed or the engine died.
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
            for sequence in self._running:
                self._abort(sequence)

    def push(self, event: Event) -> None:
        """Take an event from the engine."""
        self._events.append((event.id - self._first, event))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def finish(self, event: Finished) -> None:
        """Take the last event of one sequence from the engine."""
        self.push(event)
        self._running.discard(event.id)
        if not self._running:
            self.end()

    def fail(self, sequence: int, error: MlxdError) -> None:
        """End with `error`, as that sequence has, and abort the others."""
        self._running.discard(sequence)
        if not self._ended:
            self.end(error)
            for other in self._running:
                self._abort(other)

    def end(self, error: MlxdError | None = None) -> None:
        """End here, with `error` if there is one."""
        if not self._ended:
            self._ended = True
            self.on_end()
        self._error = self._error or error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
