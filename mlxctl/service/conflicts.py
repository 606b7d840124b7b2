"""Other jobs of launchd that start mlxd too, or hold the port or the socket that it needs."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlxctl.service import homebrew
from mlxctl.service.launchd import AGENTS, DAEMONS
from mlxctl.service.manager import Fault
from mlxctl.service.plist import Plist, read
from mlxd import paths
from mlxd.config import Config


def conflicts(own: Path, config: Config) -> Iterator[Fault]:
    """Yield what is wrong with the jobs of this Mac beside the one whose plist is `own`."""
    folders = (AGENTS.expanduser(), Path("/Library/LaunchAgents"), DAEMONS)
    for file in sorted(file for folder in folders for file in folder.glob("*.plist")):
        if file == own or (found := read(file)) is None:
            continue
        if _starts_mlxd(found):
            yield Fault(f"{file} starts mlxd as well", _removal(file, found.get("Label")))
        for each in _sockets(found):
            port, socket = each.get("SockServiceName"), each.get("SockPathName")
            if socket == str(config.socket_file()):
                yield Fault(f"{file} holds {socket} too", "set another server.socket")
            elif config.server.port and str(port) == str(config.server.port):
                yield Fault(f"{file} holds port {port} too", "set another server.port")


def _starts_mlxd(found: Plist) -> bool:
    arguments, variables = found.get("ProgramArguments"), found.get("EnvironmentVariables")
    words = [found.get("Program"), *(arguments if isinstance(arguments, list) else [])]
    named = any(os.path.basename(str(word)) == "mlxd" for word in words[:2])
    home = variables.get("MLXD_HOME", "") if isinstance(variables, dict) else ""
    return (named or words[2:4] == ["-m", "mlxd"]) and home == str(paths.home() or "")


def _sockets(found: Plist) -> Iterator[dict[str, Any]]:
    sockets = found.get("Sockets")
    for each in sockets.values() if isinstance(sockets, dict) else ():
        yield from (
            one for one in (each if isinstance(each, list) else [each]) if isinstance(one, dict)
        )


def _removal(file: Path, label: object) -> str:
    if label == homebrew.LABEL:
        return "brew services stop mlxd"
    sudo = "" if file.is_relative_to(AGENTS.expanduser()) else "sudo "
    domain = "system" if file.is_relative_to(DAEMONS) else f"gui/{os.getuid()}"
    return f"{sudo}launchctl bootout {domain}/{label}; {sudo}rm {file}"
