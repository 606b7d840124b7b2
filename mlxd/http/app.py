"""The two applications: the public one on TCP, and the same plus control on the Unix socket."""

from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlxd import __version__
from mlxd.api import anthropic, chat, completions
from mlxd.api.anthropic_types import describe_model, list_models
from mlxd.api.reply import Health, ModelCard, ModelList
from mlxd.errors import MlxdError
from mlxd.http import control, responses
from mlxd.http.access_log import AccessLog
from mlxd.http.connection import Pace, json_response
from mlxd.http.error_replies import ErrorReplies, error_response, http_exception
from mlxd.http.generate import Dependencies, GenerateEndpoint
from mlxd.http.security import Security

_PACE = Pace()
_ANTHROPIC_HEADER = "anthropic-version"


def public_app(dependencies: Dependencies, pace: Pace = _PACE) -> Starlette:
    """Return the application for TCP, whose streams keep `pace`."""
    return _app(dependencies, _public_routes(dependencies, pace), unix=False)


def unix_app(dependencies: Dependencies, pace: Pace = _PACE) -> Starlette:
    """Return the application for the Unix socket, whose streams keep `pace`."""
    routes = [*_public_routes(dependencies, pace), *control.routes(dependencies.control)]
    return _app(dependencies, routes, unix=True)


def _app(dependencies: Dependencies, routes: list[Route], *, unix: bool) -> Starlette:
    # The middleware knows only HTTP: `HttpServer` has neither a lifespan nor WebSockets.
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(AccessLog),
            Middleware(ErrorReplies),
            Middleware(Security, config=dependencies.config.server, unix=unix),
        ],
        exception_handlers={HTTPException: http_exception},
    )
    app.router.redirect_slashes = False
    return app


def _public_routes(dependencies: Dependencies, pace: Pace) -> list[Route]:
    endpoints = _Endpoints(dependencies)
    chat_endpoint = GenerateEndpoint(dependencies, chat.decode_body, pace)
    text_endpoint = GenerateEndpoint(dependencies, completions.decode_body, pace)
    left_out = dependencies.config.server.unstable_system_lines
    messages = GenerateEndpoint(
        dependencies, partial(anthropic.decode_body, left_out=left_out), pace
    )
    count = GenerateEndpoint(dependencies, partial(anthropic.decode_count, left_out=left_out), pace)
    return [
        Route("/health", endpoints.health),
        Route("/v1/models", endpoints.models),
        Route("/v1/models/{id:path}", endpoints.model),  # an id may hold slashes
        Route("/v1/chat/completions", chat_endpoint, methods=["POST"]),
        Route("/chat/completions", chat_endpoint, methods=["POST"]),
        Route("/v1/completions", text_endpoint, methods=["POST"]),
        Route("/v1/messages", messages, methods=["POST"]),
        Route("/v1/messages/count_tokens", count, methods=["POST"]),
        *responses.routes(dependencies, pace),
        Route("/openapi.json", endpoints.openapi),
    ]


class _Endpoints:
    """The endpoints that do not generate; each takes the request and returns the response."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._catalog = dependencies.catalog
        self._pool = dependencies.pool

    async def health(self, request: Request) -> Response:
        try:
            await self._pool.healthy()
        except MlxdError as error:
            return error_response(error, request.scope, 503)
        return json_response(Health("ok", __version__))

    async def models(self, request: Request) -> Response:
        entries = self._catalog.entries()
        if _ANTHROPIC_HEADER in request.headers:
            return json_response(list_models([describe_model(e.id, e.created) for e in entries]))
        return json_response(ModelList([ModelCard(e.id, e.created) for e in entries]))

    async def model(self, request: Request) -> Response:
        entry = self._catalog.resolve(request.path_params["id"])
        if _ANTHROPIC_HEADER in request.headers:
            return json_response(describe_model(entry.id, entry.created))
        return json_response(ModelCard(entry.id, entry.created))

    async def openapi(self, _request: Request) -> Response:
        from mlxd.http.openapi import document  # milliseconds and memory that few daemons need

        return json_response(document())
