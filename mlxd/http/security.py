"""Who may talk to the daemon, and how much at once.

A web page must not reach the models. It may make a browser send requests to this machine, under a
name of its own that resolves to it (refused by the Host header) or across origins (refused by the
Origin header). There are no CORS headers, so it could not read a reply either.
"""

import hmac
import ipaddress
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlxd.config import ServerConfig
from mlxd.errors import BodyTooLarge, Forbidden, Unauthorized
from mlxd.http.dependencies import Dependencies

_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]+))(?::\d*)?", re.IGNORECASE)


class Security:
    """Middleware that lets through what comes from this machine's programs or holds the key.

    On a Unix socket (`unix`) the file mode is the key, and there need be no Host.
    """

    def __init__(self, app: ASGIApp, dependencies: Dependencies, *, unix: bool) -> None:
        self._app = app
        self._dependencies = dependencies
        self._unix = unix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            Forbidden: a foreign Host or Origin.
            Unauthorized: the API key is missing or wrong.
            BodyTooLarge: the body is over `server.max_body`.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        server = self._dependencies.config.server
        headers = Headers(scope=scope)
        self._check_host(headers, server)
        _check_origin(headers)
        if not self._unix and not _is_health_check(scope):
            _check_key(headers, server.api_key)
        _check_announced_length(headers, server.max_body)
        await self._app(scope, _limited(receive, server.max_body), send)

    def _check_host(self, headers: Headers, server: ServerConfig) -> None:
        hosts = headers.getlist("host")
        if self._unix and not any(hosts):
            return
        if not hosts or not all(_is_ours(host, server) for host in hosts):
            raise Forbidden("the Host header names no host of this daemon (server.allowed_hosts)")


def _is_ours(host: str, server: ServerConfig) -> bool:
    name = _host_name(host)
    if name is None:
        return False
    if _is_loopback(name):
        return True
    if _is_address(name) and not _is_loopback(server.host):
        return True
    return name in {_host_name(allowed) for allowed in (server.host, *server.allowed_hosts)}


def _host_name(host: str) -> str | None:
    if _is_address(host):
        return host.lower()
    match = _HOST.fullmatch(host)
    return (match["v6"] or match["name"]).lower().rstrip(".") if match else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)


def _check_origin(headers: Headers) -> None:
    for origin in headers.getlist("origin"):
        _, _, netloc = origin.partition("://")
        if not netloc or netloc.lower() != headers.get("host", "").lower():
            raise Forbidden("requests from web pages of another origin are refused")


def _is_health_check(scope: Scope) -> bool:
    return scope["path"] == "/health" and scope["method"] in ("GET", "HEAD")


def _check_key(headers: Headers, api_key: str) -> None:
    if not api_key:
        return
    scheme, _, key = headers.get("authorization", "").partition(" ")
    given = key.strip().encode("latin-1")  # the bytes of the header, as Starlette decodes them
    if scheme.lower() != "bearer" or not hmac.compare_digest(given, api_key.encode()):
        raise Unauthorized("a valid API key is required: `Authorization: Bearer KEY`")


def _check_announced_length(headers: Headers, limit: int) -> None:
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)


def _limited(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def receive_limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return receive_limited


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is over {limit} bytes (server.max_body)")
