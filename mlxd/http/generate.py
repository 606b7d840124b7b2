"""The endpoint of every dialect: from a body to the end of its answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mlxd.api.dialect import Body, ReplyBuilder
from mlxd.config import CurrentConfig
from mlxd.control import Control
from mlxd.errors import InvalidRequest, MlxdError, ModelNotFound
from mlxd.http.caller_limits import Limiter
from mlxd.http.callers import Callers
from mlxd.http.connection import EventWriter, Pace, decoded, read_json, while_connected, worked
from mlxd.http.intake import Intake
from mlxd.http.record import Record, record_of
from mlxd.messages import ChoiceEvent, Started
from mlxd.metrics.metrics import Metrics
from mlxd.models.catalog import DEFAULT_NAMES, Catalog, CatalogEntry
from mlxd.models.selection import Selection
from mlxd.pool.pool import Pool
from mlxd.pool.request import ActiveRequest
from mlxd.stored_responses import ResponseStore


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """The parts of the daemon that endpoints use."""

    config: CurrentConfig
    catalog: Catalog
    selection: Selection
    pool: Pool
    control: Control
    responses: ResponseStore
    callers: Callers
    limiter: Limiter
    intake: Intake
    metrics: Metrics


class GenerateEndpoint:
    """The endpoint of one dialect, as an ASGI application."""

    def __init__(
        self, dependencies: Dependencies, decode_body: Callable[[bytes], Body], pace: Pace
    ) -> None:
        self.dependencies = dependencies
        self._decode_body = decode_body
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; its answer is aborted if it has not ended when this returns."""
        data = await read_json(scope, receive)
        record_of(scope).size = len(data)
        body = await decoded(self._decode_body, data)
        await self.answer(body, scope, receive, send)

    async def answer(self, body: Body, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request whose body has been read."""
        exchange = Exchange(self.dependencies, body, record_of(scope))
        if body.stream:
            writer = EventWriter(send, body.stream_form, exchange.progress, self._pace)
            await while_connected(receive, exchange.stream(writer), writer.beat)
        else:
            reply = await while_connected(receive, exchange.reply())
            await Response(reply, media_type="application/json")(scope, receive, send)


class _Counts(Protocol):
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...


class Exchange:
    """One request and its answer."""

    def __init__(self, dependencies: Dependencies, body: Body, record: Record) -> None:
        """Take a valid request; `record` is told of the model and of the answer."""
        self._dependencies = dependencies
        self._body = body
        self._record = record
        record.stream = bool(body.stream)
        self._spent = 0
        self._counts = False
        self._entry: CatalogEntry
        self._request: ActiveRequest | None = None

    def progress(self) -> str:
        """Return what the request waits for or does, in a few words."""
        return self._request.progress if self._request else "queued"

    async def stream(self, writer: EventWriter) -> None:
        """Write the answer in pieces."""
        async with self.running() as (request, builder):
            async for events in request:
                self._note(events)
                if data := builder.stream(events):
                    await writer.write(data)
        await writer.end()

    async def reply(self) -> bytes:
        """Return the answer as a whole."""
        async with self.running() as (request, builder):
            async for events in request:
                self._note(events)
                builder.collect(events)
            return builder.reply()

    def _note(self, events: list[ChoiceEvent]) -> None:
        for _, event in events:
            if isinstance(event, Started):
                self._record.not_enforced = [each.keyword for each in event.overlooked]
        if self._request is not None:
            self._spend(self._request.meter)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[ActiveRequest, ReplyBuilder]]:
        """Submit the request to its model and yield it; abort it at the end of the block."""
        async with self._record.place.turn():
            request, builder = await self._submit()
            try:
                yield request, builder
            except MlxdError as error:
                self._record.fail(error)
                if isinstance(error, InvalidRequest):
                    self._dependencies.selection.blame(error, self._entry, self._body.draft_model)
                raise
            except asyncio.CancelledError:
                self._record.aborted = True
                raise
            finally:
                self._record.usage = builder.usage
                # The answer may not have come to its end.
                self._spend(builder.usage or request.meter)
                await request.aclose()

    def _spend(self, counts: _Counts) -> None:
        """Charge the tokens that have come since the last time; to count them costs none."""
        if self._counts:
            return
        whole = counts.prompt_tokens + counts.completion_tokens
        self._record.place.spend(whole - self._spent)
        self._spent = whole

    async def _submit(self) -> tuple[ActiveRequest, ReplyBuilder]:
        body, selection = self._body, self._dependencies.selection
        entry = self._entry = await self._model()
        self._record.model = entry.id
        self._record.adapter = entry.adapter.name if entry.adapter else None
        draft = selection.draft(entry, body.draft_model, body.num_draft_tokens)
        settings = selection.settings(entry)
        requests = await worked(lambda: body.to_requests(settings, draft), self._record.size)
        if salt := self._record.caller.salt:
            requests = [replace(request, salt=salt) for request in requests]
        self._counts = all(request.count_only for request in requests)
        builder = body.reply_builder(entry.id, int(time.time()))
        request = self._request = self._dependencies.pool.submit(
            entry,
            requests,
            stream=bool(body.stream),
            keep_alive=body.kept_alive if self._record.caller.may_keep else None,
            arrived=self._record.arrived,
        )
        self._record.meter = request.meter
        return request, builder

    async def _model(self) -> CatalogEntry:
        """Return the model, if the caller may use it, and the draft model that is named."""
        body, caller, catalog = self._body, self._record.caller, self._dependencies.catalog
        try:
            entry = await self._dependencies.selection.settled_model(body.model, body.adapters)
        except ModelNotFound as error:
            raise caller.not_found(error, body.model) from None
        caller.check_model(entry.id, body.model)
        if body.draft_model not in (None, *DEFAULT_NAMES):
            await catalog.refresh(body.draft_model)
            if caller.models:
                caller.resolve(catalog.resolve, body.draft_model, "draft_model")
        return entry
