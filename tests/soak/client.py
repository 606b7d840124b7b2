"""Clients that ask, leave early or do not read, and what became of each of their requests."""

import asyncio
import json
import random
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.soak.mix import LEAVE, READ, UNREAD, Ask

ANSWERED, EXPLAINED, LEFT, WRONG = "answered", "explained error", "client left", "WRONG"

_SECONDS = 180.0  # no request may take longer
_UNREAD_SECONDS = 8.0  # longer than `server.read_timeout` here
_SMALL_BUFFER = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)]
_ENDS = ("response.completed", "response.incomplete", "response.failed", "error")
_NOT_YET = ("queued", "in_progress")


@dataclass(frozen=True)
class Outcome:
    """What became of a request: `what` says why if it was not answered; times in seconds."""

    ask: Ask
    kind: str
    what: str = ""
    first: float | None = None
    total: float = 0.0


class Client:
    """One client, which sends one request after another."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self._url = url
        self._chance = chance
        self._http = httpx.AsyncClient(base_url=url, timeout=_SECONDS)
        transport = httpx.AsyncHTTPTransport(socket_options=_SMALL_BUFFER)
        self._slow = httpx.AsyncClient(base_url=url, timeout=_SECONDS, transport=transport)

    async def close(self) -> None:
        await self._http.aclose()
        await self._slow.aclose()

    async def send(self, ask: Ask) -> Outcome:
        """Send a request, and return its end."""
        began = time.monotonic()
        first = None
        try:
            async with asyncio.timeout(_SECONDS):
                if ask.dialect == "socket":
                    kind, what = await self._turn(ask)
                elif ask.manner == LEAVE:
                    kind, what = await self._leave(ask)
                elif ask.manner == UNREAD:
                    kind, what = await self._read_late(ask)
                elif ask.stream:
                    kind, what, first = await self._stream(ask)
                else:
                    kind, what = await self._whole(ask)
        except TimeoutError:
            kind, what = WRONG, f"no end after {_SECONDS:g} s"
        except (httpx.TransportError, OSError, WebSocketException) as error:
            kind, what = WRONG, f"the connection broke: {error!r}"
        except (ValueError, KeyError, TypeError) as error:
            kind, what = WRONG, f"not the reply of its API: {error!r}"
        until = time.monotonic()
        return Outcome(ask, kind, what, first and first - began, until - began)

    async def _whole(self, ask: Ask) -> tuple[str, str]:
        reply = await self._http.post(ask.path, json=ask.body)
        if reply.status_code != 200:
            return _explained(ask, reply)
        data = reply.json()
        if ask.dialect != "background":
            return _answered(ask, data)
        while data["status"] in _NOT_YET:
            await asyncio.sleep(0.2)
            reply = await self._http.get(f"/v1/responses/{data['id']}")
            if reply.status_code != 200:
                return WRONG, f"a response in the background is gone: {reply.text}"
            data = reply.json()
        return _answered(ask, data)

    async def _stream(self, ask: Ask) -> tuple[str, str, float | None]:
        first, end = None, (WRONG, "the stream has no end")
        async with self._http.stream("POST", ask.path, json=ask.body) as reply:
            if reply.status_code != 200:
                await reply.aread()
                return *_explained(ask, reply), None
            async for event in _events(ask, reply):
                first = first or time.monotonic()
                end = _end(ask, event) or end
        return *end, first

    async def _leave(self, ask: Ask) -> tuple[str, str]:
        """Disconnect within the first second, or after a few pieces of a stream."""
        pieces = self._chance.randint(0, 5)
        try:
            async with (
                asyncio.timeout(self._chance.random()),
                self._http.stream("POST", ask.path, json=ask.body) as reply,
            ):
                async for _ in reply.aiter_lines():
                    if (pieces := pieces - 1) <= 0:
                        break
        except TimeoutError:
            pass
        return LEFT, ""

    async def _read_late(self, ask: Ask) -> tuple[str, str]:
        """Read nothing of the reply for longer than the daemon waits, then hang up."""
        async with self._slow.stream("POST", ask.path, json=ask.body) as reply:
            if reply.status_code != 200:
                await reply.aread()
                return _explained(ask, reply)
            await asyncio.sleep(_UNREAD_SECONDS)
        return LEFT, ""

    async def _turn(self, ask: Ask) -> tuple[str, str]:
        url = self._url.replace("http", "ws", 1) + ask.path
        async with connect(url, max_size=None, open_timeout=None, ping_interval=None) as connection:
            await connection.send(json.dumps({"type": "response.create", **ask.body}))
            while True:
                event = json.loads(await connection.recv())
                if event["type"] == "error" and "error" in event:
                    return _of_status(event["status"], event["error"]["message"])
                if event["type"] in _ENDS:
                    return _end(ask, event) or (WRONG, "no end")


def wants_to_wait(outcome: Outcome) -> bool:
    """Whether the daemon asked the client to come again later."""
    return outcome.kind == EXPLAINED and outcome.ask.manner == READ


async def _events(ask: Ask, reply: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in reply.aiter_lines():
        if ask.dialect.startswith("ollama"):
            if line:
                yield json.loads(line)
        elif line == "data: [DONE]":
            yield {"type": "[DONE]"}
        elif line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def _end(ask: Ask, event: dict[str, Any]) -> tuple[str, str] | None:
    """Return what an event of a stream means for its request; None if it goes on."""
    if event.get("error"):
        return EXPLAINED, _message(ask, event)
    kind = event.get("type")
    if ask.dialect in ("responses", "background", "socket"):
        if kind == "error":
            return EXPLAINED, event["message"]
        return _answered(ask, event["response"]) if kind in _ENDS else None
    if ask.dialect.startswith("ollama"):
        return (ANSWERED, "") if event["done"] else None
    return (ANSWERED, "") if kind in ("[DONE]", "message_stop") else None


def _answered(ask: Ask, data: dict[str, Any]) -> tuple[str, str]:
    """Check that a whole reply is what its API calls one."""
    if ask.dialect in ("responses", "background", "socket"):
        if data["status"] == "failed":
            return _of_status(500, data["error"]["message"])
        done = data["status"] in ("completed", "incomplete") and data["usage"]
    elif ask.dialect == "messages":
        done = data["stop_reason"] and data["usage"]
    elif ask.dialect.startswith("ollama"):
        done = data["done"]
    else:
        done = all(choice["finish_reason"] for choice in data["choices"]) and data["usage"]
    return (ANSWERED, "") if done else (WRONG, f"half an answer: {data}")


def _explained(ask: Ask, reply: httpx.Response) -> tuple[str, str]:
    if reply.status_code in (429, 503) and "retry-after" not in reply.headers:
        return WRONG, f"{reply.status_code} without Retry-After"
    return _of_status(reply.status_code, _message(ask, reply.json()))


def _of_status(status: int, message: str) -> tuple[str, str]:
    """All requests are valid: only load, and engines that were killed, are good reasons."""
    if status in (429, 500, 503) and message and "internal error" not in message:
        return EXPLAINED, f"{status} {message}"
    return WRONG, f"{status} {message}"


def _message(ask: Ask, body: dict[str, Any]) -> str:
    error = body["error"]
    return str(error if ask.dialect.startswith("ollama") else error["message"])
