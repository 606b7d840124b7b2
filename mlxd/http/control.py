"""The routes of the control API, all of which only the Unix socket has."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mlxd import control_api, page_api
from mlxd.api.decode import decode
from mlxd.api.keep_alive import keep_alive_seconds
from mlxd.control import Control
from mlxd.control.background import BackgroundTask
from mlxd.control_api import Endpoint
from mlxd.http.connection import decoded, json_response, read_json

_LOOK_SECONDS = 0.1
_SIGN_OF_LIFE_SECONDS = 5.0

Handler = Callable[..., msgspec.Struct | Awaitable[msgspec.Struct] | BackgroundTask[Any]]


def handlers(control: Control) -> dict[Endpoint[Any], Handler]:
    """Return what serves each endpoint.

    A handler takes the body, if the endpoint has one, and by name the parameters of the path and
    the flags. It returns a BackgroundTask for a StreamEndpoint.
    """
    return {
        control_api.RELOAD: control.reload,
        control_api.STATUS: control.status.read,
        control_api.ACTIVITY: control.activity,
        control_api.LIST_MODELS: control.catalog.models,
        control_api.SHOW_MODEL: control.catalog.show,
        control_api.REMOVE_MODEL: control.catalog.remove,
        control_api.LIST_ALIASES: control.aliases.list,
        control_api.SET_ALIAS: lambda body: control.aliases.set(body.name, body.model),
        control_api.REMOVE_ALIAS: control.aliases.remove,
        control_api.LOAD: lambda body: control.loading.load(
            body.model, keep_alive_seconds(body.keep_alive)
        ),
        control_api.UNLOAD: lambda body: control.loading.unload(body.model),
        control_api.USE: lambda body: control.loading.use(body.model, wait=body.wait),
        control_api.LIST_PULLS: control.pulls.list,
        control_api.PULL: lambda body: control.pulls.pull(body.model),
        control_api.CANCEL_PULL: lambda body: control.pulls.cancel(body.model),
        control_api.SHOW_CACHE: control.prompt_cache.show,
        control_api.CLEAR_CACHE: control.prompt_cache.clear,
        control_api.CLEAR_MODEL_CACHE: control.prompt_cache.clear,
        page_api.OPEN_PAGE: control.open_page,
        page_api.READ_LOG: control.log.tail,
    }


def routes(control: Control) -> list[Route]:
    """Return the routes below `/control/v1/`."""
    return [
        Route(
            path_of(endpoint.path), serving(control, endpoint, handler), methods=[endpoint.method]
        )
        for endpoint, handler in handlers(control).items()
    ]


def path_of(path: str) -> str:
    """Return a path as Starlette writes one whose parameters may hold slashes."""
    return path.replace("}", ":path}")


def serving(
    control: Control, endpoint: Endpoint[Any], handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    """Return what serves an endpoint with a handler."""

    async def serve(request: Request) -> Response:
        body: list[Any] = []
        if endpoint.request is not None:
            data = await read_json(request.scope, request.receive)
            body.append(await decoded(partial(decode, body_type=endpoint.request), data))
        flags = {name: request.query_params.get(name) == "true" for name in endpoint.flags}
        named = getattr(body[0], "model", None) if body else request.path_params.get("model")
        await control.refresh(named)
        reply = handler(*body, **request.path_params, **flags)
        if isinstance(reply, BackgroundTask):
            if body and body[0].stream:
                return StreamingResponse(_events(reply), media_type="text/event-stream")
            reply = reply.result()
        return json_response(await reply if isinstance(reply, Awaitable) else reply)

    return serve


async def _events(task: BackgroundTask[Any]) -> AsyncIterator[bytes]:
    """Yield the progress when it changes or as a sign of life, and at last the result."""
    loop = asyncio.get_running_loop()
    shown: msgspec.Struct | None = None
    shown_at = loop.time()
    while not await task.wait(_LOOK_SECONDS if shown else 0):
        progress = task.progress()
        if progress != shown or loop.time() - shown_at >= _SIGN_OF_LIFE_SECONDS:
            shown, shown_at = progress, loop.time()
            yield _event({"progress": progress})
    yield _event({"done": await task.result()})


def _event(data: dict[str, msgspec.Struct]) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(data)
