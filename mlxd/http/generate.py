"""The endpoint of every dialect: from a body to the end of its answer."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mlxd.api.dialect import Body, ReplyBuilder
from mlxd.errors import InsufficientMemory, InvalidRequest, LoadFailed
from mlxd.http.access_log import record_of
from mlxd.http.connection import ClientGone, beside_client, read_json
from mlxd.http.dependencies import Dependencies
from mlxd.http.sse import EventWriter, Pace, stream
from mlxd.models.catalog import CatalogEntry
from mlxd.models.selection import Selection
from mlxd.pool.crashes import EngineCrashed
from mlxd.pool.request import ActiveRequest


@dataclass(frozen=True)
class _Client:
    """Who asks; `stream` is where the events of a stream go."""

    scope: Scope
    receive: Receive
    send: Send
    stream: EventWriter


class GenerateEndpoint:
    """The endpoint of one dialect, as a raw ASGI application."""

    def __init__(
        self, dependencies: Dependencies, decode_body: Callable[[bytes], Body], pace: Pace
    ) -> None:
        self._dependencies = dependencies
        self._decode_body = decode_body
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the answer is aborted where it has not ended when this returns.

        Raises:
            ClientGone: the client disconnected before the end.
            MlxdError: there is no answer, or it broke off.
        """
        body = self._decode_body(await read_json(scope, receive))
        client = _Client(scope, receive, send, EventWriter(send))
        selection = Selection(self._dependencies.catalog, self._dependencies.config)
        entry = selection.model(body.model, body.adapters)
        while True:
            try:
                await self._answer(body, entry, selection, client)
                break
            except (InsufficientMemory, LoadFailed, EngineCrashed):
                # It may have been about to become the default, which is still another one.
                tried, entry = entry, selection.model(body.model, body.adapters, settled=True)
                if entry == tried:
                    raise

    async def _answer(
        self, body: Body, entry: CatalogEntry, selection: Selection, client: _Client
    ) -> None:
        record = record_of(client.scope)
        record.model = entry.id
        record.adapter = entry.adapter.name if entry.adapter else None
        draft = selection.draft(entry, body.draft_model, body.num_draft_tokens)
        requests = body.to_requests(self._dependencies.config.for_model(entry.id), draft)
        builder = body.reply_builder(entry.id, int(time.time()))
        answer = self._dependencies.pool.submit(
            entry, requests, stream=bool(body.stream), keep_alive=body.kept_alive
        )
        try:
            if body.stream:
                await stream(answer, builder, client.receive, client.stream, self._pace)
            else:
                reply = Response(
                    await _whole(answer, builder, client.receive), media_type="application/json"
                )
                await reply(client.scope, client.receive, client.send)
        except InvalidRequest as error:
            selection.blame(error, entry, body.draft_model)
            raise
        finally:
            await answer.aclose()
            record.usage = builder.usage
            record.timing = answer.timing


async def _whole(answer: ActiveRequest, builder: ReplyBuilder, receive: Receive) -> bytes:
    async with beside_client(receive, _collect(answer, builder)) as (collecting, gone):
        await asyncio.wait((collecting, gone), return_when=asyncio.FIRST_COMPLETED)
        if not collecting.done():
            raise ClientGone
        return collecting.result()


async def _collect(answer: ActiveRequest, builder: ReplyBuilder) -> bytes:
    async for events in answer:
        builder.collect(events)
    return builder.reply()
