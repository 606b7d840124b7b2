"""The two applications: the public one on TCP, and the same plus control on the Unix socket."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from mlxd.api import chat, completions
from mlxd.http import control
from mlxd.http.access_log import AccessLog
from mlxd.http.endpoints import Dependencies, Endpoints
from mlxd.http.error_replies import ErrorReplies, http_exception
from mlxd.http.generate import GenerateEndpoint
from mlxd.http.security import Security
from mlxd.http.sse import Pace

_PACE = Pace()


def public_app(dependencies: Dependencies, pace: Pace = _PACE) -> Starlette:
    """Return the application for TCP, whose streams keep `pace`."""
    return _app(dependencies, _public_routes(dependencies, pace), unix=False)


def unix_app(dependencies: Dependencies, pace: Pace = _PACE) -> Starlette:
    """Return the application for the Unix socket, whose streams keep `pace`."""
    routes = [*_public_routes(dependencies, pace), *control.routes(dependencies.control)]
    return _app(dependencies, routes, unix=True)


def _app(dependencies: Dependencies, routes: list[Route], *, unix: bool) -> Starlette:
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
    endpoints = Endpoints(dependencies)
    chat_endpoint = GenerateEndpoint(dependencies, chat.decode_body, pace)
    text_endpoint = GenerateEndpoint(dependencies, completions.decode_body, pace)
    return [
        Route("/health", endpoints.health),
        Route("/v1/models", endpoints.models),
        Route("/v1/models/{id:path}", endpoints.model),
        Route("/v1/chat/completions", chat_endpoint, methods=["POST"]),
        Route("/chat/completions", chat_endpoint, methods=["POST"]),
        Route("/v1/completions", text_endpoint, methods=["POST"]),
        Route("/openapi.json", endpoints.openapi),
    ]
