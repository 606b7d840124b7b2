"""Other jobs of launchd that start mlxd too, or hold the port or the socket that it needs."""

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import msgspec

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, warning
from mlxctl.service import homebrew, plist
from mlxctl.service.launchd import AGENTS, DAEMONS
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


def conflicts(facts: Facts) -> Iterator[Finding]:
    """Whether another job of this Mac is in the way of mlxd's."""
    if facts.machine.system != "Darwin" or facts.config is None:
        return
    own = facts.service.file if facts.service else None
    folders = (AGENTS.expanduser(), Path("/Library/LaunchAgents"), DAEMONS)
    for file in sorted(file for folder in folders for file in folder.glob("*.plist")):
        try:
            job = msgspec.convert(plist.read(file), _OtherJob)
        except msgspec.ValidationError:
            continue  # launchd would not load it either
        if str(file) != own:
            yield from _of(job, file, facts.config)


def _of(job: _OtherJob, file: Path, config: Config) -> Iterator[Finding]:
    words = [job.Program, *job.ProgramArguments]
    named = "mlxd" in map(os.path.basename, words[:2]) or words[2:4] == ["-m", "mlxd"]
    if named and job.EnvironmentVariables.get("MLXD_HOME", "") == str(paths.home() or ""):
        yield warning("conflicts", f"{file} starts mlxd as well", _removal(file, job.Label))
    socket, port = str(config.socket_file()), config.server.port
    listed = (each if isinstance(each, list) else [each] for each in job.Sockets.values())
    for each in chain.from_iterable(listed):
        if each.SockPathName == socket:
            yield warning("conflicts", f"{file} holds {socket} too", "set another server.socket")
        elif port and str(each.SockServiceName) == str(port):
            yield warning("conflicts", f"{file} holds port {port} too", "set another server.port")


def _removal(file: Path, label: str) -> str:
    if label == homebrew.LABEL:
        return "brew services stop mlxd"
    sudo = "" if file.is_relative_to(AGENTS.expanduser()) else "sudo "
    domain = "system" if file.is_relative_to(DAEMONS) else f"gui/{os.getuid()}"
    return f"{sudo}launchctl bootout {domain}/{label}; {sudo}rm {file}"
