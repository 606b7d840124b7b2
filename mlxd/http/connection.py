"""The client at the other end: JSON from it and to it, and noticing when it disconnects."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope

from mlxd.errors import UnsupportedMediaType

T = TypeVar("T")

_CURL = "application/x-www-form-urlencoded"
"""The content type that `curl -d` sends with every body."""


class ClientGone(Exception):
    """The client disconnected, so nobody is waiting for the reply."""


async def read_json(scope: Scope, receive: Receive) -> bytes:
    """Return the whole body of a request whose content type is JSON or not given.

    Raises:
        UnsupportedMediaType: the content type is another one.
        ClientGone: the client disconnected before the end of the body.
    """
    content_type = Headers(scope=scope).get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("", "application/json", _CURL) and not kind.endswith("+json"):
        raise UnsupportedMediaType("the body must be JSON: `Content-Type: application/json`")
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def json_response(reply: object) -> Response:
    """Return `reply` as JSON."""
    return Response(msgspec.json.encode(reply), media_type="application/json")


async def while_connected(
    receive: Receive,
    work: Coroutine[Any, Any, T],
    beat: Callable[[], Awaitable[float]] | None = None,
) -> T:
    """Return the result of `work`, which is cancelled if the client disconnects.

    The request's body must have been read. While the work goes on, `beat` is called at first, and
    then each time after as many seconds as it returned.

    Raises:
        ClientGone: the client disconnected first.
    """
    loop = asyncio.get_running_loop()
    task, gone = loop.create_task(work), loop.create_task(_disconnect(receive))
    try:
        pause = 0.0 if beat else None
        while not task.done():
            await asyncio.wait((task, gone), timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and not task.done():
                raise ClientGone
            if beat and not task.done():
                pause = await beat()
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
