"""The routes of the Responses API: answers, and what is stored of them."""

import contextlib
import copy
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mlxd.api import response_replay
from mlxd.api.compaction import compaction_of, compaction_request
from mlxd.api.dialect import SSE
from mlxd.api.response_items import Item, reference_owner, references
from mlxd.api.response_resource import (
    DeletedResponse,
    InputTokens,
    ItemList,
)
from mlxd.api.responses import ResponseBody, ResponseTurn, decode_body
from mlxd.api.responses_reply import DONE, ResponseReplyBuilder, as_sse
from mlxd.errors import (
    InvalidRequest,
    MlxdError,
    PreviousResponseNotFound,
    RequestError,
    ResponseNotFound,
)
from mlxd.http.access_log import end
from mlxd.http.background_responses import BackgroundResponse, BackgroundResponses, to_store
from mlxd.http.connection import (
    LARGE_BODY,
    EventWriter,
    Pace,
    decoded,
    json_response,
    read_json,
    while_connected,
    worked,
)
from mlxd.http.generate import Dependencies, Exchange
from mlxd.http.record import Record, record_of
from mlxd.stored_responses import StoredResponse

_LOST = {"code": "server_error", "message": "the daemon stopped before the response was complete"}
_PAGE, _LARGEST_PAGE = 20, 100
_MOST_DIGITS = 19
_OK = 200


def routes(api: "ResponsesApi") -> list[tuple[str, Any, list[str]]]:
    """Return path, endpoint and methods of each route."""
    return [
        ("/responses", _Endpoint(api), ["POST"]),
        ("/responses/input_tokens", api.input_tokens, ["POST"]),
        ("/responses/compact", api.compact, ["POST"]),
        ("/responses/{id}", _Stored(api), ["GET"]),
        ("/responses/{id}", api.delete, ["DELETE"]),
        ("/responses/{id}/cancel", api.cancel, ["POST"]),
        ("/responses/{id}/input_items", api.input_items, ["GET"]),
    ]


class ResponsesApi:
    """What the routes do."""

    def __init__(self, dependencies: Dependencies, pace: Pace) -> None:
        """Take the parts of the daemon; streams keep `pace`."""
        self.dependencies = dependencies
        self.pace = pace
        self.store = dependencies.responses
        self.background = BackgroundResponses(self.store)
        self._record = Record("")

    def of(self, record: Record) -> "ResponsesApi":
        """Return the same for one request, with what is stored of its caller."""
        own = copy.copy(self)
        own._record = record
        return own

    async def turn(self, body: ResponseBody, last: StoredResponse | None = None) -> ResponseTurn:
        """Return a request with the conversation that it continues.

        `last` is a response from which it may continue even if that is not stored.
        """
        history = await self._history(body, last)
        found = await self._found(references(body.input), history)
        store = body.store is not False and self.dependencies.config.now.responses.store

        def make() -> ResponseTurn:
            return ResponseTurn(body, history, found, store=store, owner=self._owner)

        return await worked(make, LARGE_BODY if history else self._record.size)

    @property
    def _owner(self) -> str:
        return self._record.caller.salt

    async def stored(self, response_id: str) -> StoredResponse:
        """Return a stored response; raise ResponseNotFound if there is none."""
        stored = await self._load(response_id)
        if stored is None:
            raise ResponseNotFound(f"there is no response {response_id!r}", param="response_id")
        return stored

    async def current(self, response_id: str) -> StoredResponse:
        """Return a stored response as it is now; raise ResponseNotFound if there is none."""
        stored = await self.stored(response_id)
        running = self.background.find(response_id)
        if running is not None and running.builder is not None:
            response: Item = msgspec.json.decode(running.builder.reply())
            return msgspec.structs.replace(stored, response=response)
        if stored.response["status"] in ("queued", "in_progress"):
            lost = {**stored.response, "status": "failed", "error": _LOST}
            return msgspec.structs.replace(stored, response=lost)
        return stored

    async def input_tokens(self, request: Request) -> Response:
        """Count the tokens of a prompt."""
        record = record_of(request.scope)
        turn = await self.of(record).turn(await _body(request.scope, request.receive))
        turn.counts = True
        answer = self.answer(Exchange(self.dependencies, turn, record), turn)
        counts = (await while_connected(request.receive, answer)).usage
        return json_response(InputTokens(counts.prompt_tokens if counts else 0))

    async def compact(self, request: Request) -> Response:
        """Make a short form of a conversation."""
        record = record_of(request.scope)
        body = compaction_request(await _body(request.scope, request.receive))
        turn = await self.of(record).turn(body)
        answer = self.answer(Exchange(self.dependencies, turn, record), turn)
        return json_response(compaction_of(await while_connected(request.receive, answer)))

    async def answer(self, exchange: Exchange, turn: ResponseTurn) -> ResponseReplyBuilder:
        """Return the whole answer to a turn."""
        with naming_input():
            async with exchange.running() as (request, builder):
                async for events in request:
                    builder.collect(events)
        return turn.built

    async def keep(self, turn: ResponseTurn) -> None:
        """Store the answer to a turn, if it is to be stored."""
        if turn.store:
            await self.store.save(to_store(turn), turn.owner)

    async def delete(self, request: Request) -> Response:
        """Delete a stored response, and end it if it is still being generated."""
        response_id, own = request.path_params["id"], self.of(record_of(request.scope))
        await own.stored(response_id)
        if running := self.background.find(response_id):
            await running.cancel()
        if not await self.store.delete(response_id, own._owner):
            raise ResponseNotFound(f"there is no response {response_id!r}", param="response_id")
        return json_response(DeletedResponse(response_id))

    async def cancel(self, request: Request) -> Response:
        """End a response that is being generated in the background."""
        response_id, own = request.path_params["id"], self.of(record_of(request.scope))
        await own.stored(response_id)
        if running := self.background.find(response_id):
            await running.cancel()
        stored = await own.current(response_id)
        if not stored.response["background"]:
            raise InvalidRequest("only a response with `background` can be cancelled")
        return json_response(stored.response)

    async def input_items(self, request: Request) -> Response:
        """Show a page of the items that a response was made of."""
        stored = await self.of(record_of(request.scope)).stored(request.path_params["id"])
        return json_response(_page(stored.items, request))

    async def _load(self, response_id: str) -> StoredResponse | None:
        """Return a response, None if there is none; it counts as a body of the request."""
        take = self._record.held.enter_context(self.dependencies.intake.holding(place=False))
        take(await self.store.size(response_id, self._owner))
        return await self.store.load(response_id, self._owner)

    async def _history(self, body: ResponseBody, last: StoredResponse | None) -> list[Item]:
        if not body.previous_response_id:
            return []
        stored = last
        if stored is None or stored.response["id"] != body.previous_response_id:
            stored = await self._load(body.previous_response_id)
        if stored is None:
            raise PreviousResponseNotFound(
                f"there is no response {body.previous_response_id!r} to go on from",
                param="previous_response_id",
            )
        if self.background.find(body.previous_response_id):
            raise InvalidRequest(
                "`previous_response_id`: that response is not complete",
                param="previous_response_id",
            )
        return [*stored.items, *stored.response["output"]]

    async def _found(self, wanted: Collection[str], history: Sequence[Item]) -> dict[str, Item]:
        """Return the items that a request refers to, each response read once."""
        items = _by_id(history) if wanted else {}
        for response_id in dict.fromkeys(map(reference_owner, wanted)):
            stored = await self._load(response_id)
            if stored is not None:
                items = _by_id([*stored.items, *stored.response["output"]]) | items
        for reference in wanted:
            if reference not in items:
                raise InvalidRequest(
                    f"`input`: there is no stored item {reference!r}", param="input"
                )
        return items


async def _body(scope: Scope, receive: Receive) -> ResponseBody:
    data = await read_json(scope, receive)
    record_of(scope).size = len(data)
    return await decoded(decode_body, data)


class _Endpoint:
    """POST /v1/responses, as an ASGI application."""

    def __init__(self, api: ResponsesApi) -> None:
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; its answer is aborted if it has not ended when this returns."""
        record = record_of(scope)
        api = self._api.of(record)
        body = await _body(scope, receive)
        turn = await api.turn(body)
        if body.background:
            if not turn.store:
                raise InvalidRequest(
                    "`background`: responses are not stored (responses.store)", param="background"
                )
            later = record.successor(record.dialect)
            exchange = Exchange(api.dependencies, turn, later)
            running = api.background.start(exchange, turn)
            held = record.held.pop_all()
            running.task.add_done_callback(lambda _: held.close())
            reply = await while_connected(receive, running.accepted())
            metrics = api.dependencies.metrics
            metrics.requests.replace(record, later)
            running.task.add_done_callback(lambda _: end(metrics, scope, later))
            if body.stream:
                await _follow(running, -1, api.pace, receive, send)
                return
        else:
            exchange = Exchange(api.dependencies, turn, record)
            if body.stream:
                writer = EventWriter(send, SSE, exchange.progress, api.pace)
                work = self._stream(exchange, turn, writer)
                await while_connected(receive, work, writer.beat)
                return
            answer = api.answer(exchange, turn)
            reply = (await while_connected(receive, answer)).reply()
            await api.keep(turn)
        await Response(reply, media_type="application/json")(scope, receive, send)

    async def _stream(self, exchange: Exchange, turn: ResponseTurn, writer: EventWriter) -> None:
        try:
            with naming_input():
                async with exchange.running() as (request, builder):
                    async for events in request:
                        data = builder.stream(events)
                        if turn.built.ended:
                            await self._api.keep(turn)
                        if data:
                            await writer.write(data)
        except MlxdError as error:
            if not writer.started or turn.builder is None:
                raise
            made = turn.builder.fail(error)
            await self._api.keep(turn)
            await writer.write(b"".join([*map(as_sse, made), DONE]))
        await writer.end()


class _Stored:
    """GET /v1/responses/{id}, as an ASGI application: it may be a stream."""

    def __init__(self, api: ResponsesApi) -> None:
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Show a stored response, or its events."""
        request = Request(scope, receive)
        api, response_id = self._api.of(record_of(scope)), request.path_params["id"]
        stored = await api.current(response_id)
        if request.query_params.get("stream") != "true":
            await json_response(stored.response)(scope, receive, send)
            return
        after = _number(request, "starting_after", -1, 0, 2**63)
        running = api.background.find(response_id)
        if running is not None and running.streams:
            await _follow(running, after, api.pace, receive, send)
            return
        if running is not None:
            raise InvalidRequest("`stream`: the response was not created with `stream`")
        events = [event.encode() for event in stored.events] or response_replay.replay(
            stored.response
        )
        data = b"".join([*events[after + 1 :], DONE])
        await Response(data, media_type=SSE.media_type)(scope, receive, send)


async def _follow(
    running: BackgroundResponse, after: int, pace: Pace, receive: Receive, send: Send
) -> None:
    """Write the events of a response as they come; the client may disconnect and come back."""
    writer = EventWriter(send, SSE, running.progress, pace)

    async def work() -> None:
        async for data in running.follow(after):
            await writer.write(data)
        await writer.end()

    await while_connected(receive, work(), writer.beat)


def _by_id(items: Sequence[Item]) -> dict[str, Item]:
    """Return items by their ids, of several with the same the first."""
    return {item["id"]: item for item in reversed(items) if isinstance(item["id"], str)}


def _page(items: Sequence[Item], request: Request) -> ItemList:
    limit = _number(request, "limit", _PAGE, 1, _LARGEST_PAGE)
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest('`order`: expected "asc" or "desc"', param="order")
    rest = list(items if order == "asc" else reversed(items))
    if after := request.query_params.get("after"):
        places = [index for index, item in enumerate(rest) if item["id"] == after]
        if not places:
            raise InvalidRequest(f"`after`: there is no item {after!r}", param="after")
        rest = rest[places[-1] + 1 :]
    page = rest[:limit]
    return ItemList(
        data=page,
        first_id=page[0]["id"] if page else None,
        last_id=page[-1]["id"] if page else None,
        has_more=len(rest) > limit,
    )


def _number(request: Request, name: str, usual: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return usual
    if len(text) > _MOST_DIGITS or not text.isdecimal() or not least <= int(text) <= most:
        raise InvalidRequest(f"`{name}`: expected an integer from {least} to {most}", param=name)
    return int(text)


@contextlib.contextmanager
def naming_input() -> Iterator[None]:
    """Make errors of the block that name `messages` name `input`, the field of this API."""
    try:
        yield
    except RequestError as error:
        if error.param == "messages":
            error.param = "input"
        raise
