"""The client at the other end: reading its body, and noticing when it goes away."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from mlxd.errors import UnsupportedMediaType

T = TypeVar("T")


class ClientGone(Exception):
    """The client disconnected; there is nobody left to answer."""


async def read_body(receive: Receive) -> bytes:
    """Give the whole body of a request.

    Raises:
        ClientGone: the client disconnected before its end.
    """
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


@asynccontextmanager
async def beside_client(
    receive: Receive, work: Coroutine[Any, Any, T]
) -> AsyncIterator[tuple[asyncio.Task[T], asyncio.Task[None]]]:
    """Run `work` and watch the client; both tasks are over when the block is left.

    Gives the task of `work` and one that ends when the client is gone. The body must have been
    read before.
    """
    loop = asyncio.get_running_loop()
    tasks = loop.create_task(work), loop.create_task(_disconnect(receive))
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


_CURL = "application/x-www-form-urlencoded"
"""What `curl -d` says of every body."""


async def read_json(scope: Scope, receive: Receive) -> bytes:
    """Give the whole body of a request, if it is announced as JSON or not at all.

    Raises:
        UnsupportedMediaType: it is announced as something else.
        ClientGone: the client disconnected before its end.
    """
    content_type = Headers(scope=scope).get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("", "application/json", _CURL) and not kind.endswith("+json"):
        raise UnsupportedMediaType("the body has to be JSON: `Content-Type: application/json`")
    return await read_body(receive)
