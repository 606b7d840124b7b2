"""Turns of the Responses API over a WebSocket, and a server for them."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from openresponses_types.types import WebSocketErrorEvent
from websockets.asyncio.client import ClientConnection

from mlxd.http.server import HttpServer
from tests.support.open_responses import EVENTS, checked_response

ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


@asynccontextmanager
async def serving(server: HttpServer) -> AsyncIterator[int]:
    """Serve on a free port, which is yielded."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.stop(0)
            await task


async def turn(ws: ClientConnection, **fields: Any) -> list[dict[str, Any]]:
    """Ask for a response; return the events up to its end, each as the specification has it."""
    await ws.send(json.dumps({"type": "response.create", "model": "tiny", "input": "Hi"} | fields))
    return await events(ws)


async def events(ws: ClientConnection) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while not found or found[-1]["type"] not in ENDS:
        event = json.loads(await asyncio.wait_for(ws.recv(), 10))
        EVENTS.get(event["type"]).model_validate(event) if event["type"] != "error" else (
            WebSocketErrorEvent.model_validate(event)
        )
        found.append(event)
    return found


async def complete(ws: ClientConnection, **fields: Any) -> dict[str, Any]:
    last = (await turn(ws, **fields))[-1]
    assert last["type"] == "response.completed", last
    return checked_response(last["response"])


async def refused(ws: ClientConnection, **fields: Any) -> tuple[int, str]:
    (error,) = await turn(ws, **fields)
    return error["status"], error["error"]["code"]
