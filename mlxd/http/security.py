"""Who may use the daemon, and how large a body may be.

Web pages must not reach the models. A page can make a browser send requests to this machine in two
ways: under a host name that the page's owner lets resolve to this machine (refused by the Host
header), or across origins (refused by the Origin header, unless `server.allowed_origins` allows
it).
"""

import ipaddress
import re
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlxd.config import CurrentConfig, ServerConfig, toml_text
from mlxd.errors import BodyTooLarge, Forbidden, InvalidRequest
from mlxd.http.caller_limits import Limiter
from mlxd.http.callers import LOCAL, Callers
from mlxd.http.compression import decompressed
from mlxd.http.intake import Intake
from mlxd.http.origins import allows, is_preflight, preflight_response
from mlxd.http.record import record_of
from mlxd.http.spelling import CONTROL
from mlxd.page_api import PREFIX

_ELSEWHERE = ("cross-site", "same-site")
_HOST = re.compile(
    r"(?:\[(?P<v6>[0-9a-f:.]+)(?:%[^\]]*)?\]|(?P<name>[^:\[\]]+))(?::\d*)?", re.IGNORECASE
)


class Security:
    """Middleware that checks Host, Origin, API key, its rights and limits, and the body's size.

    On the Unix socket (`unix`), no key is needed and the Host may be missing.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: CurrentConfig,
        callers: Callers,
        limiter: Limiter,
        intake: Intake,
        *,
        unix: bool,
    ) -> None:
        self._app = app
        self._config = config
        self._callers = callers
        self._limiter = limiter
        self._intake = intake
        self._unix = unix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or raise a RequestError that says what is not allowed."""
        headers = Headers(scope=scope)
        hosts, server = headers.getlist("host"), self._config.now.server
        if any(hosts) or not self._unix:
            _check_hosts(hosts, server, scope["http_version"])
        _check_origin(headers, scope["path"], server)
        if is_preflight(scope["method"], headers):
            await preflight_response(headers)(scope, receive, send)
            return
        record = record_of(scope)
        record.caller = caller = LOCAL if self._unix else self._callers.authorize(scope)
        limit = server.max_body
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise _too_large(limit)
        receive = decompressed(receive, headers.get("content-encoding", ""), limit)
        with record.held:
            asks = record.dialect is not None
            if not scope["path"].startswith(CONTROL):  # mlxctl must reach a daemon that is full
                take = record.held.enter_context(self._intake.holding(place=asks))
                receive = _counted(receive, take)
            if asks:
                try:
                    record.place = record.held.enter_context(self._limiter.place(caller))
                finally:
                    anthropic = record.dialect == "messages"
                    record.headers += self._limiter.headers(caller, anthropic=anthropic)
            await self._app(scope, _limited(receive, limit), send)


def _check_origin(headers: Headers, path: str, config: ServerConfig) -> None:
    for origin in headers.getlist("origin"):
        _, separator, netloc = origin.partition("://")
        if netloc and netloc.lower() == headers.get("host", "").lower():
            continue
        if path.startswith(PREFIX):
            raise Forbidden(f"only mlxd's own page may use {path}")
        if allows(config.allowed_origins, origin):
            continue
        if not separator and origin != "null":
            raise Forbidden(f'Origin "{origin}" is not valid')
        raise _refusal("Origin", origin, "allowed_origins", origin, config)
    # A browser sends some requests without an Origin, such as one for a picture on another page.
    if path.startswith(PREFIX) and headers.get("sec-fetch-site") in _ELSEWHERE:
        raise Forbidden(f"only mlxd's own page may use {path}")


def _refusal(header: str, got: str, key: str, entry: str, config: ServerConfig) -> Forbidden:
    """Return the error that says which line of config.toml would allow `entry`."""
    allowed = toml_text([*getattr(config, key), entry])
    line = f"server.{key} = {allowed}"
    return Forbidden(f'{header} "{got}" is not allowed. To allow it, set in config.toml: {line}')


def _check_hosts(hosts: list[str], config: ServerConfig, http_version: str) -> None:
    if not hosts and http_version != "1.0":  # HTTP/1.0 has no Host; a browser always sends one
        raise InvalidRequest("the request has no Host header")
    for host in hosts:
        name = _host_name(host)
        if name is None:
            raise Forbidden(f'Host "{host}" is not valid')
        if not _is_allowed(name, config):
            raise _refusal("Host", host, "allowed_hosts", name, config)


def _is_allowed(name: str, config: ServerConfig) -> bool:
    if _is_this_machine(name) or (_is_address(name) and not _is_loopback(config.host)):
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
    if _is_address(name):
        return ipaddress.ip_address(name).is_loopback
    return name == "localhost" or name.endswith(".localhost")  # RFC 6761, 6.3


def _is_this_machine(name: str) -> bool:
    """Whether `name` always leads to the machine that it is used on, as 0.0.0.0 does."""
    return _is_loopback(name) or (_is_address(name) and ipaddress.ip_address(name).is_unspecified)


def _counted(receive: Receive, take: Callable[[int], None]) -> Receive:
    async def receive_counted() -> Message:
        message = await receive()
        take(len(message.get("body", b"")))
        return message

    return receive_counted


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
