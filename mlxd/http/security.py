"""Who may use the daemon, and how large a body may be.

A web page must not reach the models. It can make a browser send requests to this machine, under a
host name of its own that resolves to it (refused by the Host header) or across origins (refused by
the Origin header). There are no CORS headers, so it could not read a reply either.
"""

import hmac
import ipaddress
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlxd.config import ServerConfig
from mlxd.errors import BodyTooLarge, Forbidden, Unauthorized

_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]+))(?::\d*)?", re.IGNORECASE)


class Security:
    """Middleware that checks Host, Origin, API key and the size of the body.

    On the Unix socket (`unix`) the file mode is the key, and the Host may be missing.
    """

    def __init__(self, app: ASGIApp, config: ServerConfig, *, unix: bool) -> None:
        self._app = app
        self._config = config
        self._unix = unix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or raise Forbidden, Unauthorized or BodyTooLarge."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if any(hosts) or not self._unix:
            _check_hosts(hosts, self._config)
        _check_origin(headers)
        if not self._unix and not _is_health_check(scope):
            _check_key(headers, self._config.api_key)
        limit = self._config.max_body
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise _too_large(limit)
        await self._app(scope, _limited(receive, limit), send)


def _check_hosts(hosts: list[str], config: ServerConfig) -> None:
    if not hosts:
        raise Forbidden("the request has no Host header")
    for host in hosts:
        name = _host_name(host)
        if name is None:
            raise Forbidden(f'Host "{host}" is not valid')
        if not _is_allowed(name, config):
            raise Forbidden(
                f'Host "{host}" is not allowed. To allow it, add "{name}" to server.allowed_hosts'
            )


def _is_allowed(name: str, config: ServerConfig) -> bool:
    if _is_loopback(name) or (_is_address(name) and not _is_loopback(config.host)):
        return True
    return name in {_host_name(allowed) for allowed in (config.host, *config.allowed_hosts)}


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
            raise Forbidden("requests from web pages of other origins are not allowed")


def _is_health_check(scope: Scope) -> bool:
    return scope["path"] == "/health" and scope["method"] in ("GET", "HEAD")


def _check_key(headers: Headers, api_key: str) -> None:
    if not api_key:
        return
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        key = headers.get("x-api-key", "")  # as Anthropic's clients send it
    given = key.strip().encode("latin-1")  # the bytes of the header, as Starlette decodes them
    if not hmac.compare_digest(given, api_key.encode()):
        raise Unauthorized("a valid API key is required: `Authorization: Bearer KEY`")


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
    return BodyTooLarge(f"the body is larger than {limit} bytes (server.max_body)")
