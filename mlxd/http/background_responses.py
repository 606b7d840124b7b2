"""Responses that are generated in the background: no client needs to wait for them."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from mlxd.api.response_events import StreamEvent
from mlxd.api.responses import ResponseTurn
from mlxd.api.responses_reply import DONE, ResponseReplyBuilder, as_sse
from mlxd.errors import MlxdError
from mlxd.http.generate import Exchange
from mlxd.stored_responses import ResponseStore, StoredResponse


def to_store(turn: ResponseTurn, events: Sequence[bytes] = ()) -> StoredResponse:
    """Return what is stored of a turn; `events` is its stream as it was sent."""
    response = msgspec.json.decode(turn.built.reply())
    return StoredResponse(response, turn.items, [event.decode() for event in events])


class BackgroundResponse:
    """One response that is being generated, and its events so far."""

    def __init__(self, exchange: Exchange, turn: ResponseTurn, store: ResponseStore) -> None:
        self.progress = exchange.progress
        self.streams = bool(turn.stream)
        self._exchange = exchange
        self._turn = turn
        self._store = store
        self._events: list[bytes] = []
        self._news = asyncio.Event()
        self._ended = False
        self._accepted: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._run())

    @property
    def builder(self) -> ResponseReplyBuilder | None:
        """What there is of the response, once it is accepted."""
        return self._turn.builder

    async def accepted(self) -> bytes:
        """Return the response as it begins; raise an MlxdError if the request is refused."""
        return await asyncio.shield(self._accepted)

    async def follow(self, after: int = -1) -> AsyncIterator[bytes]:
        """Yield the events whose number is greater than `after`, as they come, and the end."""
        shown = after + 1
        while True:
            news = self._news
            if pieces := self._events[shown:]:
                shown += len(pieces)
                yield b"".join(pieces)
            elif self._ended:
                break
            else:
                await news.wait()
        yield DONE

    async def cancel(self) -> None:
        """End the response, and store what there is of it."""
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _run(self) -> None:
        try:
            await self._generate()
        except MlxdError as error:
            if self._accepted.done():
                await self._add(self._turn.built.fail(error))
            else:
                self._accepted.set_exception(error)
        except asyncio.CancelledError:
            if self._accepted.done():
                self._turn.built.cancel()
                await self._keep()
            else:
                self._accepted.cancel()
        finally:
            self._ended = True
            self._tell()

    async def _generate(self) -> None:
        async with self._exchange.running() as (request, _):
            builder = self._turn.built
            await self._add(builder.begin())
            await self._keep()
            self._accepted.set_result(builder.reply())
            async for events in request:
                if self.streams:
                    await self._add(builder.take(events))
                else:
                    builder.collect(events)
            if not self.streams:
                await self._keep()

    async def _add(self, events: Sequence[StreamEvent]) -> None:
        """Pass events to those who follow, the last one only once the response is on disk."""
        self._events += map(as_sse, events)
        if self._turn.built.ended:
            await self._keep()
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _keep(self) -> None:
        events = self._events if self.streams else []
        await self._store.save(to_store(self._turn, events), self._turn.owner)


class BackgroundResponses:
    """The responses that are being generated in the background, by id."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store
        self._running: dict[str, BackgroundResponse] = {}

    def start(self, exchange: Exchange, turn: ResponseTurn) -> BackgroundResponse:
        """Begin a response."""
        response = self._running[turn.id] = BackgroundResponse(exchange, turn, self._store)
        response.task.add_done_callback(lambda _: self._running.pop(turn.id, None))
        return response

    def find(self, response_id: str) -> BackgroundResponse | None:
        """Return a response that is being generated; None if there is none with this id."""
        return self._running.get(response_id)
