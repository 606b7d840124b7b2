"""What a program other than mlxctl needs to reach the daemon: the URL of its API, and a key."""

import os
from urllib.parse import urlsplit

from mlxctl.errors import NotRunning
from mlxd import keys, paths
from mlxd.addresses import primary
from mlxd.config import ServerConfig
from mlxd.control_api import Status
from mlxd.units import address

KEY_VARIABLE = "MLXD_API_KEY"
KEY_WANTED = (
    f"mlxd wants a key, which mlxctl does not know: set {KEY_VARIABLE} to one of "
    "`mlxctl key create NAME`"
)
"""What to tell where `api_key` is None."""

_NO_KEY = "none"  # clients require one
_TO_CONNECT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  not to listen


def api_url(server: ServerConfig, status: Status | None) -> str:
    """Return the URL, without `/v1`, at which the daemon listens or would listen as configured.

    Raises:
        NotRunning: it takes any free port, and does not run.
    """
    listening = urlsplit((status.url if status else None) or "")
    host, port = listening.hostname or server.host, listening.port or server.port
    if not port:
        raise NotRunning
    scheme = listening.scheme or ("https" if server.tls_cert else "http")
    return f"{scheme}://{address(_TO_CONNECT.get(host, primary(host)), port)}"


def api_key(server: ServerConfig) -> str | None:
    """Return the key that clients must send, or some text if they may send any.

    It is that of MLXD_API_KEY or else `server.api_key`; None if it is another, which only its
    owner knows.

    Raises:
        ConfigError: the file of keys cannot be read.
    """
    if known := os.environ.get(KEY_VARIABLE) or server.api_key:
        return known
    return _NO_KEY if keys.read(paths.keys_file()) is None else None
