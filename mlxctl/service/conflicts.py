"""Other jobs of launchd that start mlxd too, or hold the port or the socket that it needs."""

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import msgspec

from mlxctl.service import homebrew, plist
from mlxctl.service.launchd import AGENTS, DAEMONS
from mlxctl.service.manager import Fault
from mlxd import paths
from mlxd.config import Config


class _Socket(msgspec.Struct):
    SockPathName: str | None = None
    SockServiceName: str | int | None = None


class _OtherJob(msgspec.Struct):
    Label: str
    Program: str = ""
    ProgramArguments: list[str] = []
    EnvironmentVariables: dict[str, str] = {}
    Sockets: dict[str, _Socket | list[_Socket]] = {}


def conflicts(own: Path, config: Config) -> Iterator[Fault]:
    """Yield what is wrong with the jobs of this Mac beside the one whose plist is `own`."""
    folders = (AGENTS.expanduser(), Path("/Library/LaunchAgents"), DAEMONS)
    for file in sorted(file for folder in folders for file in folder.glob("*.plist")):
        try:
            job = msgspec.convert(plist.read(file), _OtherJob)
        except msgspec.ValidationError:
            continue  # launchd would not load it either
        if file == own:
            continue
        words = [job.Program, *job.ProgramArguments]
        named = "mlxd" in map(os.path.basename, words[:2]) or words[2:4] == ["-m", "mlxd"]
        if named and job.EnvironmentVariables.get("MLXD_HOME", "") == str(paths.home() or ""):
            yield Fault(f"{file} starts mlxd as well", _removal(file, job.Label))
        listed = (each if isinstance(each, list) else [each] for each in job.Sockets.values())
        for each in chain.from_iterable(listed):
            if each.SockPathName == str(config.socket_file()):
                yield Fault(f"{file} holds {each.SockPathName} too", "set another server.socket")
            elif config.server.port and str(each.SockServiceName) == str(config.server.port):
                yield Fault(
                    f"{file} holds port {config.server.port} too", "set another server.port"
                )


def _removal(file: Path, label: str) -> str:
    if label == homebrew.LABEL:
        return "brew services stop mlxd"
    sudo = "" if file.is_relative_to(AGENTS.expanduser()) else "sudo "
    domain = "system" if file.is_relative_to(DAEMONS) else f"gui/{os.getuid()}"
    return f"{sudo}launchctl bootout {domain}/{label}; {sudo}rm {file}"
