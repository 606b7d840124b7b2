"""The two applications: the public one on TCP, and the same plus control on the Unix socket."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from mlxd.api import chat, completions
from mlxd.http.access_log import Identify
from mlxd.http.control import ControlEndpoints
from mlxd.http.dependencies import Context
from mlxd.http.endpoints import Endpoints
from mlxd.http.error_replies import ErrorReplies, http_exception
from mlxd.http.generate import Generate
from mlxd.http.security import Guard
from mlxd.http.sse import Pace

_PACE = Pace()


def public_app(context: Context, pace: Pace = _PACE) -> Starlette:
    """Give the application for TCP; `pace` is how patient its streams are."""
    return _app(context, _public_routes(context, pace), unix=False)


def unix_app(context: Context, pace: Pace = _PACE) -> Starlette:
    """Give the application for the Unix socket; `pace` is how patient its streams are."""
    routes = [*_public_routes(context, pace), *ControlEndpoints(context.control).routes()]
    return _app(context, routes, unix=True)


def _app(context: Context, routes: list[Route], *, unix: bool) -> Starlette:
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Identify),
            Middleware(ErrorReplies),
            Middleware(Guard, context=context, unix=unix),
        ],
        exception_handlers={HTTPException: http_exception},
    )
    app.router.redirect_slashes = False
    return app


def _public_routes(context: Context, pace: Pace) -> list[Route]:
    endpoints = Endpoints(context)
    chat_endpoint = Generate(context, chat.decode_body, pace)
    text_endpoint = Generate(context, completions.decode_body, pace)
    return [
        Route("/health", endpoints.health),
        Route("/v1/models", endpoints.models),
        Route("/v1/models/{id:path}", endpoints.model),
        Route("/v1/chat/completions", chat_endpoint, methods=["POST"]),
        Route("/chat/completions", chat_endpoint, methods=["POST"]),
        Route("/v1/completions", text_endpoint, methods=["POST"]),
        Route("/openapi.json", endpoints.openapi),
    ]
