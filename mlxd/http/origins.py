"""Which web pages may use the daemon, and what their browsers are told (CORS).

A page may read a reply only if the reply names the page's origin. Before a browser sends more than
a form could, it asks (a preflight): https://fetch.spec.whatwg.org/#http-cors-protocol
"""

import re
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlxd.config import CurrentConfig

_METHODS = b"GET, HEAD, POST, OPTIONS"
_REMEMBERED_SECONDS = b"600"
_ENTRY = re.compile(r"(.*://)(.*?)(:(?:\d+|\*))?")
_ANY_HOST, _ANY_SUBDOMAIN, _ANY_PORT = r"(?:\[[^\]/]*\]|[^/:]*)", r"(?:[^/:.]+\.)+", r"(?::\d+)?"
_LAST_SLASHES = re.compile(r"(?<![:/])/+$")  # not those of "file://", as Electron writes it
_DEFAULT_PORTS = re.compile(r"^(http://.*):80$|^(https://.*):443$")


def allows(allowed: Iterable[str], origin: str) -> bool:
    """Whether the pages of `origin`, as a browser writes it, may use the daemon.

    `allowed` are the entries of `server.allowed_origins`.
    """
    written = _plain(origin)
    return any(re.fullmatch(_pattern(entry), written) for entry in allowed)


def is_preflight(method: str, headers: Headers) -> bool:
    """Whether a request is a browser's question what the pages of another origin may send."""
    asks = "origin" in headers and "access-control-request-method" in headers
    return method == "OPTIONS" and asks


class Cors:
    """Middleware that lets the pages of allowed origins read the replies."""

    def __init__(self, app: ASGIApp, config: CurrentConfig) -> None:
        self._app = app
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        allowed = self._config.now.server.allowed_origins
        if not allowed:
            await self._app(scope, receive, send)
            return
        origin = Headers(scope=scope).get("origin", "")
        headers = [(b"vary", b"Origin")]
        if origin and allows(allowed, origin):
            headers.append((b"access-control-allow-origin", origin.encode("latin-1")))
            headers.append((b"access-control-expose-headers", b"*"))

        async def send_readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        await self._app(scope, receive, send_readable)


def preflight_response(headers: Headers) -> Response:
    """Return the reply that lets a page of an allowed origin send what it asks for."""
    response = Response(status_code=204)
    response.raw_headers += [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-max-age", _REMEMBERED_SECONDS),
        (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
    ]
    if asked := headers.get("access-control-request-headers"):
        # "*" would leave out Authorization, and clients add headers of their own.
        response.raw_headers.append((b"access-control-allow-headers", asked.encode("latin-1")))
    if headers.get("access-control-request-private-network") == "true":
        response.raw_headers.append((b"access-control-allow-private-network", b"true"))
    return response


def _plain(origin: str) -> str:
    origin = _LAST_SLASHES.sub("", origin.lower())
    return _DEFAULT_PORTS.sub(lambda match: match[1] or match[2], origin)


def _pattern(entry: str) -> str:
    """Return the regular expression for an entry of the configuration."""
    if entry == "*":
        return ".*"
    match = _ENTRY.fullmatch(_plain(entry))
    if match is None:  # "null"
        return re.escape(entry.lower())
    scheme, host, port = match[1], match[2], match[3] or ""
    any_port = port == ":*" or (host == "*" and not port)
    name = host.removeprefix("*.")
    subdomain = _ANY_SUBDOMAIN if name != host else ""
    return "".join(
        (
            re.escape(scheme) + subdomain,
            _ANY_HOST if host == "*" else re.escape(name),
            _ANY_PORT if any_port else re.escape(port),
        )
    )
