"""Other jobs of launchd that start mlxd too, or keep the port or the socket it needs."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mlxctl.service import homebrew
from mlxctl.service.plist import Plist
from mlxctl.service.plist_file import PlistFile
from mlxd import paths
from mlxd.config import Config


def rivals(own: Path, config: Config, folders: Iterable[Path]) -> Iterator[str]:
    """Say which plists in `folders` are in the way, but for `own` and Homebrew's, and what to do.

    A file is read as a plist only where it names what matters: this is part of `mlxctl status`.
    """
    port, socket = config.server.port, str(config.socket_file())
    signs = [b"mlxd", socket.encode(), *([str(port).encode()] if port else [])]
    for file in sorted(file for folder in folders for file in folder.glob("*.plist")):
        if file == own or file.stem == homebrew.LABEL:
            continue
        plist = PlistFile(file)
        content = plist.content()
        if not any(sign in content for sign in signs) or (found := plist.read()) is None:
            continue
        if claim := _claim(file, found, port, socket):
            yield f"{file} {claim}"


def _claim(file: Path, found: Plist, port: int, socket: str) -> str | None:
    if _runs_mlxd(found) and _home(found) == str(paths.home() or ""):
        return f"starts mlxd as well: {_removal(file, found)}"
    for listener in _listeners(found):
        if listener.get("SockPathName") == socket:
            return f"keeps {socket} too: set another server.socket"
        if port and str(listener.get("SockServiceName")) == str(port):
            return f"keeps port {port} too: set another server.port"
    return None


def _runs_mlxd(found: Plist) -> bool:
    arguments = [found.get("Program"), *_list(found.get("ProgramArguments"))]
    named = any(os.path.basename(str(each)) == "mlxd" for each in arguments[:2])
    return named or arguments[2:4] == ["-m", "mlxd"]


def _home(found: Plist) -> str:
    environment = found.get("EnvironmentVariables")
    return str(environment.get("MLXD_HOME", "")) if isinstance(environment, dict) else ""


def _listeners(found: Plist) -> Iterator[dict[str, Any]]:
    sockets = found.get("Sockets")
    for each in sockets.values() if isinstance(sockets, dict) else ():
        for listener in each if isinstance(each, list) else [each]:
            if isinstance(listener, dict):
                yield listener


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _removal(file: Path, found: Plist) -> str:
    label = found.get("Label", file.stem)
    if not file.is_relative_to("/Library"):
        return f"launchctl bootout gui/{os.getuid()}/{label}; rm {file}"
    domain = "system" if file.parent.name == "LaunchDaemons" else f"gui/{os.getuid()}"
    return f"sudo launchctl bootout {domain}/{label}; sudo rm {file}"
