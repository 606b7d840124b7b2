"""How a path may be spelled, and which path a wrong one may mean."""

import re
from collections.abc import Sequence

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES = re.compile("//+")
_PREFIXES = ("/v1", "")
_MOST_STEPS = 8
CONTROL = "/control/"


class Spelling:
    """Middleware that takes doubled slashes for one, and none at the end.

    The control API is for mlxctl alone, and its parameters may be any text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"]
        if not path.startswith(CONTROL) and ("//" in path or path.endswith("/")):
            scope = {**scope, "path": _SLASHES.sub("/", path).rstrip("/") or "/"}
        await self._app(scope, receive, send)


def methods_of(path: str, routes: Sequence[BaseRoute]) -> list[str]:
    """Return the methods that `path` allows, sorted; none if there is no such path."""
    found = [
        route.methods or ()
        for route in routes
        if isinstance(route, Route) and route.path_regex.match(path)
    ]
    return sorted({method for methods in found for method in (*methods, "OPTIONS")})


def nearest(path: str, routes: Sequence[BaseRoute]) -> str | None:
    """Return the public path that an unknown one most likely means; None if nothing is near.

    That is the longest end of it that is a path with or without `/v1` before it, as where a client
    adds to a base URL what this has already; or else the path that is spelled most alike.
    """
    known = [
        route for route in routes if isinstance(route, Route) and not route.path.startswith(CONTROL)
    ]
    steps = [step for step in path.split("/") if step]
    for start in range(max(0, len(steps) - _MOST_STEPS), len(steps)):
        end = "/".join(steps[start:])
        for prefix in _PREFIXES:
            if methods_of(f"{prefix}/{end}", known):
                return f"{prefix}/{end}"
    from difflib import get_close_matches  # only a mistake pays for this import

    found = get_close_matches(path.lower(), [route.path for route in known], 1, 0.75)
    return found[0] if found else None
