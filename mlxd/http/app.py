"""The two applications: the public one on TCP, and the same plus control on the Unix socket."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from mlxd import __version__
from mlxd.api import anthropic, chat, completions
from mlxd.api.anthropic_types import describe_model, list_models
from mlxd.api.reply import Health, ModelCard, ModelList
from mlxd.control_api import Status
from mlxd.errors import MlxdError
from mlxd.http import control, lm_studio, ollama, page, responses, responses_socket, ui
from mlxd.http.access_log import AccessLog
from mlxd.http.connection import Pace, json_response
from mlxd.http.error_replies import ErrorReplies, error_response, http_exception
from mlxd.http.generate import Dependencies, GenerateEndpoint
from mlxd.http.origins import Cors
from mlxd.http.record import caller_of
from mlxd.http.security import Security
from mlxd.http.spelling import Spelling
from mlxd.metrics.metrics import Metrics

_PACE = Pace()
_ANTHROPIC_HEADER = "anthropic-version"
_ABOUT = f"""\
mlxd {__version__}: MLX language models behind the APIs of OpenAI, Anthropic and Ollama.

The base URL for OpenAI's clients is this address with /v1 after it, for the others' as it is:

  GET  /v1/models             the installed models
  POST /v1/chat/completions   answer a conversation
  POST /v1/completions        continue a text
  POST /v1/messages           answer a conversation, as Anthropic's API
  POST /api/chat              answer a conversation, as Ollama's API
  GET  /openapi.json          the description of all this
  GET  /health                200 if mlxd can generate
  GET  /metrics               what mlxd does, for Prometheus
"""


def public_app(dependencies: Dependencies, pace: Pace = _PACE) -> Starlette:
    """Return the application for TCP, whose streams keep `pace`."""
    routes = [
        *_public_routes(dependencies, pace),
        *ollama.routes(dependencies, pace),
        *page.routes(),
        *ui.routes(dependencies),
    ]
    return _app(dependencies, routes, unix=False)


def unix_app(dependencies: Dependencies, pace: Pace = _PACE) -> Starlette:
    """Return the application for the Unix socket, whose streams keep `pace`."""
    routes = [
        *_public_routes(dependencies, pace),
        *ollama.routes(dependencies, pace),
        *control.routes(dependencies.control),
    ]
    return _app(dependencies, routes, unix=True)


def _app(dependencies: Dependencies, routes: Sequence[BaseRoute], *, unix: bool) -> Starlette:
    # The middleware knows HTTP and WebSockets: `HttpServer` has no lifespan.
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Spelling),
            Middleware(AccessLog, metrics=dependencies.metrics),
            Middleware(Cors, config=dependencies.config),
            Middleware(ErrorReplies),
            Middleware(
                Security,
                config=dependencies.config,
                callers=dependencies.callers,
                limiter=dependencies.limiter,
                intake=dependencies.intake,
                unix=unix,
            ),
        ],
        exception_handlers={HTTPException: http_exception},
    )
    app.router.redirect_slashes = False
    return app


def _public_routes(dependencies: Dependencies, pace: Pace) -> list[BaseRoute]:
    endpoints = _Endpoints(dependencies)
    chat_endpoint = GenerateEndpoint(dependencies, chat.decode_body, pace)
    text_endpoint = GenerateEndpoint(dependencies, completions.decode_body, pace)
    left_out = dependencies.config.now.server.unstable_system_lines
    messages = GenerateEndpoint(
        dependencies, partial(anthropic.decode_body, left_out=left_out), pace
    )
    count = GenerateEndpoint(dependencies, partial(anthropic.decode_count, left_out=left_out), pace)
    responses_api = responses.ResponsesApi(dependencies, pace)
    api: list[tuple[str, Any, list[str]]] = [
        ("/chat/completions", chat_endpoint, ["POST"]),
        ("/completions", text_endpoint, ["POST"]),
        ("/messages", messages, ["POST"]),
        ("/messages/count_tokens", count, ["POST"]),
        ("/models", endpoints.models, ["GET"]),
        ("/models/{id:path}", endpoints.model, ["GET"]),  # an id may hold slashes
        *responses.routes(responses_api),
    ]
    return [
        # Some clients want a base URL with /v1, others without, and add the rest of the path.
        *(
            Route(prefix + path, endpoint, methods=methods)
            for prefix in ("/v1", "")
            for path, endpoint, methods in api
        ),
        *responses_socket.routes(responses_api),
        Route("/api/v0/chat/completions", chat_endpoint, methods=["POST"]),
        Route("/api/v0/completions", text_endpoint, methods=["POST"]),
        *lm_studio.routes(dependencies),
        Route("/health", endpoints.health),
        Route("/openapi.json", endpoints.openapi),
        Route("/metrics", endpoints.metrics),
        Route("/", endpoints.about),
    ]


def _exposition() -> Callable[[Metrics, Status, str, Callable[[str], bool]], tuple[bytes, str]]:
    from mlxd.metrics.exposition import exposition  # tenths of a second that few daemons need

    return exposition


class _Endpoints:
    """The endpoints that do not generate; each takes the request and returns the response."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._catalog = dependencies.catalog
        self._pool = dependencies.pool
        self._metrics = dependencies.metrics
        self._status = dependencies.control.status

    async def about(self, request: Request) -> Response:
        if page.wanted(request):
            return await page.index(request)
        return PlainTextResponse(_ABOUT, headers={"vary": "Accept"})

    async def health(self, request: Request) -> Response:
        try:
            await self._pool.healthy()
        except MlxdError as error:
            return error_response(error, request.scope, 503)
        return json_response(Health("ok", __version__))

    async def models(self, request: Request) -> Response:
        caller = caller_of(request.scope)
        await self._catalog.refresh()
        entries = [entry for entry in self._catalog.entries() if caller.may_use(entry.id)]
        if _ANTHROPIC_HEADER in request.headers:
            return json_response(list_models([describe_model(e.id, e.created) for e in entries]))
        return json_response(ModelList([ModelCard(e.id, e.created) for e in entries]))

    async def model(self, request: Request) -> Response:
        caller = caller_of(request.scope)
        await self._catalog.refresh(request.path_params["id"])
        entry = caller.resolve(self._catalog.resolve, request.path_params["id"])
        if _ANTHROPIC_HEADER in request.headers:
            return json_response(describe_model(entry.id, entry.created))
        return json_response(ModelCard(entry.id, entry.created))

    async def openapi(self, _request: Request) -> Response:
        from mlxd.http.openapi import document  # milliseconds and memory that few daemons need

        return json_response(document())

    async def metrics(self, request: Request) -> Response:
        exposition = await asyncio.to_thread(_exposition)
        status = await self._status.read()
        accept, shows = request.headers.get("accept", ""), caller_of(request.scope).may_use
        text, content_type = exposition(self._metrics, status, accept, shows)
        return Response(text, headers={"content-type": content_type})
