"""The control API's endpoints, which only the Unix socket has."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mlxd import control_api
from mlxd.api.decode import decode
from mlxd.api.keep_alive import keep_alive_seconds
from mlxd.control import Control
from mlxd.control.background import BackgroundTask
from mlxd.http.connection import read_json
from mlxd.http.endpoints import json_response

_LOOK_SECONDS = 0.1
_SIGN_SECONDS = 5.0

_Body = TypeVar("_Body", bound=msgspec.Struct)


class ControlEndpoints:
    """One method an endpoint, each given the request and giving the response."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[Route]:
        """Give the routes of `/control/v1/`."""
        return [
            Route("/control/v1/status", self.status),
            Route("/control/v1/models", self.models),
            Route("/control/v1/models/{id:path}", self.model, methods=["GET"]),
            Route("/control/v1/models/{id:path}", self.remove_model, methods=["DELETE"]),
            Route("/control/v1/aliases", self.aliases),
            Route("/control/v1/aliases", self.set_alias, methods=["POST"]),
            Route("/control/v1/aliases/{name:path}", self.remove_alias, methods=["DELETE"]),
            Route("/control/v1/load", self.load, methods=["POST"]),
            Route("/control/v1/unload", self.unload, methods=["POST"]),
            Route("/control/v1/use", self.use, methods=["POST"]),
            Route("/control/v1/pulls", self.pulls),
            Route("/control/v1/pull", self.pull, methods=["POST"]),
            Route("/control/v1/pull/cancel", self.cancel_pull, methods=["POST"]),
        ]

    async def status(self, _request: Request) -> Response:
        """GET /control/v1/status."""
        return json_response(await self._control.status.read())

    async def models(self, _request: Request) -> Response:
        """GET /control/v1/models."""
        return json_response(self._control.catalog.models())

    async def model(self, request: Request) -> Response:
        """GET /control/v1/models/{id}, where the id may hold slashes."""
        return json_response(await self._control.catalog.show(request.path_params["id"]))

    async def remove_model(self, request: Request) -> Response:
        """DELETE /control/v1/models/{id}; with ?dry_run=true nothing is removed."""
        dry_run = request.query_params.get("dry_run") == "true"
        removal = await self._control.catalog.remove(request.path_params["id"], dry_run=dry_run)
        return json_response(removal)

    async def aliases(self, _request: Request) -> Response:
        """GET /control/v1/aliases."""
        return json_response(self._control.aliases.list())

    async def set_alias(self, request: Request) -> Response:
        """POST /control/v1/aliases."""
        body = await _body(request, control_api.Alias)
        return json_response(self._control.aliases.set(body.name, body.model))

    async def remove_alias(self, request: Request) -> Response:
        """DELETE /control/v1/aliases/{name}."""
        return json_response(self._control.aliases.remove(request.path_params["name"]))

    async def load(self, request: Request) -> Response:
        """POST /control/v1/load."""
        body = await _body(request, control_api.LoadRequest)
        work = self._control.memory.load(body.model, keep_alive_seconds(body.keep_alive))
        return await _reply(work, stream=body.stream)

    async def unload(self, request: Request) -> Response:
        """POST /control/v1/unload."""
        body = await _body(request, control_api.UnloadRequest)
        return await _reply(self._control.memory.unload(body.model), stream=body.stream)

    async def use(self, request: Request) -> Response:
        """POST /control/v1/use."""
        body = await _body(request, control_api.UseRequest)
        work = self._control.memory.use(body.model, drained=body.wait)
        return await _reply(work, stream=body.stream)

    async def pulls(self, _request: Request) -> Response:
        """GET /control/v1/pulls."""
        return json_response(self._control.pulls.list())

    async def pull(self, request: Request) -> Response:
        """POST /control/v1/pull."""
        body = await _body(request, control_api.PullRequest)
        return await _reply(self._control.pulls.pull(body.model), stream=body.stream)

    async def cancel_pull(self, request: Request) -> Response:
        """POST /control/v1/pull/cancel."""
        body = await _body(request, control_api.CancelPullRequest)
        return json_response(await self._control.pulls.cancel(body.model))


async def _body(request: Request, kind: type[_Body]) -> _Body:
    return decode(await read_json(request.scope, request.receive), kind)


async def _reply(work: BackgroundTask[Any], *, stream: bool) -> Response:
    if stream:
        return StreamingResponse(_events(work), media_type="text/event-stream")
    return json_response(await work.result())


async def _events(work: BackgroundTask[Any]) -> AsyncIterator[bytes]:
    """Give the progress whenever it changes, or as a sign of life, and at last what comes of it."""
    loop = asyncio.get_running_loop()
    shown: msgspec.Struct | None = None
    shown_at = loop.time()
    while not await work.wait(_LOOK_SECONDS if shown else 0):
        progress = work.progress()
        if progress != shown or loop.time() - shown_at >= _SIGN_SECONDS:
            shown, shown_at = progress, loop.time()
            yield _event({"progress": progress})
    yield _event({"done": await work.result()})


def _event(data: dict[str, msgspec.Struct]) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(data)
