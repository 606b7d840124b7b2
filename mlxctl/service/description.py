"""What a service manager is told about the daemon: program, environment, sockets and limits."""

import os
import pwd
import re
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from mlxctl.errors import CommandFailed
from mlxd import config, network, paths
from mlxd.addresses import LOCALHOST, loopbacks
from mlxd.config import Config
from mlxd.network import is_secret
from mlxd.run_record import SECRETS

ON_DEMAND_IDLE_EXIT = "10m"
OPEN_FILES = 8192
UMASK = 0o077

_STOP_SECONDS = 15  # beyond the drain timeout
_PLACES = (
    *("HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"),
)


class Mode(StrEnum):
    """When the daemon is started."""

    AT_LOGIN = "at login"
    ON_DEMAND = "on demand"
    SYSTEM = "at boot"


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon as a service; every path is absolute and stays the same over upgrades.

    `host` is empty where the daemon binds a TCP port of its own choice; `addresses` are those of
    it, for a manager that resolves no names. A service of the whole machine runs as `user`, whose
    id is `user_id`.
    """

    mode: Mode
    program: tuple[str, ...]
    environment: dict[str, str]
    host: str
    addresses: tuple[str, ...]
    port: int
    socket: str
    stderr: str
    stop_seconds: int
    user: str = ""
    user_id: int = 0


def describe(mode: Mode, environment: Mapping[str, str], user: str | None = None) -> Description:
    """Return the service that runs in `environment`, with the configuration found there.

    A service of the whole machine runs as `user`; by default, as whoever runs mlxctl or sudo.

    Raises:
        ConfigError: the configuration is at fault.
        CommandFailed: there is no such user.
    """
    settings = config.load(environ=environment)
    server = settings.server
    owner = _account(user) if mode is Mode.SYSTEM else None
    own = absolute(environment, settings)
    if mode is Mode.ON_DEMAND and server.idle_exit is None:
        own["MLXD_SERVER__IDLE_EXIT"] = ON_DEMAND_IDLE_EXIT
    return Description(
        mode=mode,
        program=(*program(), "--log-file", str(paths.log_file())),
        environment=own,
        host=server.host if server.port else "",
        addresses=_addresses(server.host),
        port=server.port,
        socket=str(settings.socket_file()),
        stderr=str(paths.stderr_file()),
        stop_seconds=int(server.drain_timeout) + _STOP_SECONDS,
        user=owner.pw_name if owner else "",
        user_id=owner.pw_uid if owner else 0,
    )


def program() -> tuple[str, ...]:
    """Return the command that runs this installation's mlxd, by a path that upgrades keep."""
    beside = Path(sys.executable).with_name("mlxd")
    if os.access(beside, os.X_OK):
        return (stable(str(beside)),)
    return (stable(sys.executable), "-P", "-m", "mlxd")


def stable(path: str) -> str:
    """Return Homebrew's lasting path of a file in its Cellar, which each upgrade empties."""
    return re.sub(r"/Cellar/([^/]+)/[^/]+/", r"/opt/\1/", path)


def absolute(environment: Mapping[str, str], settings: Config) -> dict[str, str]:
    """Return `environment` with mlxd's paths made absolute, since the daemon runs in "/"."""
    places = {
        "MLXD_HOME": str(paths.home()),
        "MLXD_SERVER__SOCKET": settings.server.socket,
        "MLXD_MODELS__DIRS": ",".join(settings.models.dirs),
    }
    return {name: value and places.get(name, value) for name, value in environment.items()}


def carried(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the places and settings of this shell's environment that hold for the service too.

    Among them is how the network is reached. Secrets do not: other users can read a service's
    description.
    """
    home = paths.home()
    found = {name: _absolute(environ[name]) for name in _PLACES if environ.get(name)}
    found |= {
        name: value
        for name, value in environ.items()
        if name.startswith("MLXD_") and "__" in name and name not in SECRETS
    }
    reach = network.variables(environ)
    found |= {name: value for name, value in reach.items() if not is_secret(name, value)}
    return {**({"MLXD_HOME": str(home)} if home else {}), **dict(sorted(found.items()))}


def _addresses(host: str) -> tuple[str, ...]:
    """Return the addresses of this machine that `host` means; a name beside localhost is itself."""
    return tuple(loopbacks()) if host.lower() == LOCALHOST else (host,)


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(os.path.expandvars(path)))


def _account(user: str | None) -> pwd.struct_passwd:
    user = user or os.environ.get("SUDO_USER")
    try:
        return pwd.getpwnam(user) if user else pwd.getpwuid(os.getuid())
    except KeyError:
        raise CommandFailed(f"there is no user {user or os.getuid()} on this machine") from None
