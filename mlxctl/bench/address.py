"""Where a measured server listens, and the headers that it needs."""

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from mlxctl.errors import BenchmarkError
from mlxd.units import address

_PATIENCE_SECONDS = 10.0
_OK = 200
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class ServerAddress:
    """A server of OpenAI's API: its socket's address, and what comes before the paths of its API.

    `headers` go with every request; `tls` is None for plain HTTP.
    """

    family: int
    where: Any
    host: str
    prefix: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        """Its URL, or `unix://` and the path of its socket."""
        if self.family == socket.AF_UNIX:
            return f"unix://{self.where}"
        return f"{'http' if self.tls is None else 'https'}://{self.host}{self.prefix}"

    @property
    def name(self) -> str:
        """The name that its certificate must have."""
        return urlsplit(f"//{self.host}").hostname or ""

    @classmethod
    def of_port(cls, port: int) -> "ServerAddress":
        """Return the address of a port of this machine."""
        return cls(socket.AF_INET, ("127.0.0.1", port), f"127.0.0.1:{port}")

    @classmethod
    def of_socket(cls, file: Path) -> "ServerAddress":
        """Return the address of a Unix socket."""
        return cls(socket.AF_UNIX, str(file), "localhost")


def find(url: str, key: str | None) -> tuple[ServerAddress, list[str]]:
    """Return the address that answers at `url`, and the names of the models it lists.

    `url` may end with `/v1` or not; `key` is the API key that the server asks for, if any.

    Raises:
        BenchmarkError: nothing answers there.
    """
    parts = urlsplit(url)
    prefix = parts.path.rstrip("/").removesuffix("/v1")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connection = _connection(parts)
    try:
        with contextlib.closing(connection):
            connection.request("GET", f"{prefix}/v1/models", headers=headers)
            opened: socket.socket = connection.sock
            family, where = opened.family, opened.getpeername()
            with connection.getresponse() as response:
                names = _names(response.read()) if response.status == _OK else []
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BenchmarkError(f"{url} does not answer: {reason}") from error
    port = parts.port or _PORTS[parts.scheme]
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    host = address(parts.hostname or "", port)
    return ServerAddress(family, where, host, prefix, headers, tls), names


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=_PATIENCE_SECONDS)
    return http.client.HTTPConnection(host, port, timeout=_PATIENCE_SECONDS)


def _names(body: bytes) -> list[str]:
    try:
        return [str(model["id"]) for model in json.loads(body)["data"]]
    except (ValueError, TypeError, LookupError):
        return []
