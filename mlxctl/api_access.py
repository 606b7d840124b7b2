"""What a program other than mlxctl needs to reach the daemon: the URL of its API, and a key."""

from urllib.parse import urlsplit

from mlxctl.errors import NotRunning
from mlxd.addresses import primary
from mlxd.config import ServerConfig
from mlxd.control_api import Status
from mlxd.units import address

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
    return f"http://{address(_TO_CONNECT.get(host, primary(host)), port)}"


def api_key(server: ServerConfig) -> str:
    """Return the key that clients must send, or some text if they may send any."""
    return server.api_key or _NO_KEY
