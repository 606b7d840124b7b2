"""The Responses API over a WebSocket: one turn after another, with the events of a stream.

A client sends `response.create` with the fields of a request. A conversation can go on from the
last response of the same connection even if that is not stored.
"""

import asyncio
import contextlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from mlxd.api.decode import decode
from mlxd.api.openai_errors import ErrorObject
from mlxd.api.response_events import StreamEvent
from mlxd.api.responses import ResponseBody, decode_body
from mlxd.api.responses_reply import encode
from mlxd.errors import InvalidRequest, MlxdError, QueueFull
from mlxd.http.access_log import begin, end
from mlxd.http.background_responses import to_store
from mlxd.http.callers import LOCAL
from mlxd.http.connection import ClientGone, decoded
from mlxd.http.generate import Exchange
from mlxd.http.record import Record, record_of
from mlxd.http.responses import ResponsesApi, naming_input
from mlxd.stored_responses import StoredResponse

TURNS = "turns"
"""Key in the state of a connection's scope: how many turns wait or run."""

_MOST_WAITING = 16
_MOST_KEPT = 64_000_000
_CREATE = "response.create"
_DIALECT = "responses"
_BUG = 1011


class SocketError(msgspec.Struct, frozen=True):
    """A turn that was refused; `status` is HTTP's."""

    status: int
    error: ErrorObject
    type: str = "error"


class _Message(msgspec.Struct, frozen=True):
    type: str = ""
    background: bool | None = None
    generate: bool | None = None


@dataclass
class _Asked:
    """A message that waits for its turn, or why it is refused; `held` counts it in the intake."""

    data: bytes = b""
    refusal: QueueFull | None = None
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


def routes(api: ResponsesApi) -> list[WebSocketRoute]:
    """Return the routes."""
    endpoint = _Endpoint(api)
    return [WebSocketRoute(f"{prefix}/responses", endpoint) for prefix in ("/v1", "")]


class _LastResponses:
    """The last, unstored responses of connections: the newest, up to `_MOST_KEPT` bytes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[object, tuple[StoredResponse, int]] = OrderedDict()

    def keep(self, connection: object, response: StoredResponse, size: int) -> None:
        """Keep the response of a connection, which takes about `size` bytes."""
        self._kept[connection] = response, size
        while sum(each for _, each in self._kept.values()) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def forget(self, connection: object) -> tuple[StoredResponse | None, int]:
        """Keep no response of a connection; return the one that was kept, and its size."""
        return self._kept.pop(connection, (None, 0))


class _Endpoint:
    """The endpoint as an ASGI application."""

    def __init__(self, api: ResponsesApi) -> None:
        self._api = api
        self._last = _LastResponses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await receive()  # "websocket.connect"
        await send({"type": "websocket.accept"})
        connection = _Connection(self._api, scope, send, self._last)
        try:
            await connection.serve(receive)
        finally:
            self._last.forget(connection)


class _Connection:
    """One connection; `last` has the response of its last turn, from which the next may go on."""

    def __init__(self, api: ResponsesApi, scope: Scope, send: Send, last: _LastResponses) -> None:
        self._api = api
        self._scope = scope
        self._send = send
        self._last = last
        self._waiting: asyncio.Queue[_Asked] = asyncio.Queue(_MOST_WAITING)

    async def serve(self, receive: Receive) -> None:
        """Serve turns until the client disconnects, which aborts the current one."""
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._read(receive)), loop.create_task(self._work())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            while not self._waiting.empty():
                self._waiting.get_nowait().held.close()
        for result in results:
            if isinstance(result, ClientGone):
                raise ClientGone  # another one, since that refers to the message
            if isinstance(result, Exception):  # a bug, which the middleware logs
                with contextlib.suppress(Exception):
                    await self._send({"type": "websocket.close", "code": _BUG})
                raise result

    async def _read(self, receive: Receive) -> None:
        while await self._read_one(receive):
            pass

    async def _read_one(self, receive: Receive) -> bool:
        """Put the next message in line, and keep nothing of it; False at the end."""
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return False
        self._count(1)
        asked = self._asked(message.get("text") or message.get("bytes") or b"")
        try:
            await self._waiting.put(asked)
        except asyncio.CancelledError:
            asked.held.close()
            raise
        return True

    def _asked(self, data: str | bytes) -> _Asked:
        asked = _Asked(data.encode() if isinstance(data, str) else data)
        try:
            take = asked.held.enter_context(self._api.dependencies.intake.holding())
            take(len(asked.data))
        except QueueFull as error:
            asked.held.close()
            return _Asked(refusal=error.with_traceback(None))  # which refers to the message
        return asked

    def _count(self, turns: int) -> None:
        """Count turns for the connection: without any, it may be closed to make room for others."""
        state = self._scope["state"]
        state[TURNS] = state.get(TURNS, 0) + turns

    async def _work(self) -> None:
        while True:
            await self._serve_one()

    async def _serve_one(self) -> None:
        """Serve the next turn, and keep nothing of its message."""
        asked = await self._waiting.get()
        with asked.held:
            await self._take(asked)
        self._count(-1)

    async def _take(self, asked: _Asked) -> None:
        record, parts = record_of(self._scope).successor(_DIALECT), self._api.dependencies
        record.size = len(asked.data)
        begin(parts.metrics, record)
        try:
            if asked.refusal is not None:
                raise asked.refusal
            if record.caller is not LOCAL:  # the key may have changed since the last turn
                record.caller = parts.callers.authorize(self._scope)
            with record.held, parts.limiter.place(record.caller) as record.place:
                await self._turn(asked.data, record)
        except MlxdError as error:
            record.status = error.status
            record.fail(error)
            await self._refuse(error)
        except (ClientGone, asyncio.CancelledError):
            record.aborted = True
            raise
        finally:
            end(parts.metrics, self._scope, record)

    async def _turn(self, data: bytes, record: Record) -> None:
        body, generate = await decoded(_decoded, data)
        last, size = None, 0
        if body.previous_response_id:
            last, size = self._last.forget(self)  # even if this turn fails
        api = self._api.of(record)
        turn = await api.turn(body, last)
        turn.warms_up = not generate
        exchange = Exchange(self._api.dependencies, turn, record)
        try:
            with naming_input():
                async with exchange.running() as (request, _):
                    builder = turn.built
                    async for events in request:
                        made = builder.take(events)
                        if builder.ended:
                            await api.keep(turn)
                            size += len(data) + len(builder.reply())
                            self._last.keep(self, to_store(turn), size)
                        await self._write(made)
        except MlxdError as error:
            if turn.builder is None or not turn.builder.begun:
                raise
            *_, failed = turn.builder.fail(error)
            await api.keep(turn)
            await self._write([failed])

    async def _write(self, events: list[StreamEvent]) -> None:
        for event in events:
            await self._show(encode(event))

    async def _refuse(self, error: MlxdError) -> None:
        code = error.code or error.type
        detail = ErrorObject(error.message, error.type, error.param, code)
        await self._show(encode(SocketError(error.status, detail)))

    async def _show(self, text: bytes) -> None:
        try:
            await self._send({"type": "websocket.send", "text": text.decode()})
        except OSError:  # which is how ASGI says that the client is gone
            raise ClientGone from None


def _decoded(data: bytes) -> tuple[ResponseBody, bool]:
    """Return the request in a message, and whether it is to be answered, not only prepared.

    Raises:
        InvalidRequest: it is no `response.create`, or its request is not valid.
    """
    body: Any = decode_body(data)
    message = decode(data, _Message)
    if message.type != _CREATE:
        raise InvalidRequest(f'`type`: expected "{_CREATE}"', param="type")
    if message.background:
        raise InvalidRequest("`background`: not over a WebSocket", param="background")
    return msgspec.structs.replace(body, stream=True), message.generate is not False
