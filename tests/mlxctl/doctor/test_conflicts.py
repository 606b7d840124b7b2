"""Other jobs of launchd in the way of mlxd's."""

import os
import plistlib
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as with_fields

from mlxctl.doctor.conflicts import conflicts
from mlxctl.doctor.facts import Facts
from mlxd.config import Config, ServerConfig
from tests.mlxctl.doctor.conftest import LAUNCHD, MAC, WELL

CONFIG = Config(server=ServerConfig(port=8080, socket="/h/run/mlxd.sock"))


def beside(own: Path) -> Facts:
    """A Mac where launchd has loaded mlxd's own job from `own`."""
    return replace(WELL, config=CONFIG, service=with_fields(LAUNCHD, file=str(own)))


@pytest.fixture
def agents(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this user's jobs."""
    folder = home / "Library" / "LaunchAgents"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    return folder


def told(agents: Path, label: str = "x", **plist: object) -> list[str]:
    """What is said about one job beside mlxd's."""
    file, own = agents / "other.plist", agents / "own.plist"
    file.write_bytes(plistlib.dumps({"Label": label, **plist}))
    own.write_bytes(plistlib.dumps({"Label": "own", "ProgramArguments": ["mlxd"]}))
    found = list(conflicts(beside(own)))
    assert {(each.check, each.state) for each in found} <= {("conflicts", "warning")}
    return [f"{each.message}: {each.fix}".removeprefix(f"{file} ") for each in found]


@pytest.mark.parametrize(
    "plist",
    [
        {"ProgramArguments": ["/opt/bin/mlxd", "--port", "1"]},
        {"Program": "/opt/bin/mlxd"},
        {"ProgramArguments": ["/opt/bin/python", "-m", "mlxd"]},
    ],
)
def test_another_job_that_starts_mlxd(
    home: Path, agents: Path, monkeypatch: pytest.MonkeyPatch, plist: dict[str, object]
) -> None:
    theirs = {"EnvironmentVariables": {"MLXD_HOME": str(home)}}
    removal = f"launchctl bootout gui/{os.getuid()}/x; rm {agents / 'other.plist'}"
    assert told(agents, **plist, **theirs) == [f"starts mlxd as well: {removal}"]
    assert told(agents, **plist) == []  # with another home
    monkeypatch.delenv("MLXD_HOME")
    assert told(agents, **plist) == [f"starts mlxd as well: {removal}"]
    assert told(agents, "homebrew.mxcl.mlxd", **plist) == [
        "starts mlxd as well: brew services stop mlxd"
    ]


def test_another_job_that_holds_the_port_or_the_socket(agents: Path) -> None:
    other = {"ProgramArguments": ["/usr/bin/other"]}
    for port in (8080, "8080"):
        sockets = {"web": [{"SockServiceName": "1"}, {"SockServiceName": port}]}
        assert told(agents, **other, Sockets=sockets) == [
            "holds port 8080 too: set another server.port"
        ]
    sockets = {"local": {"SockPathName": "/h/run/mlxd.sock"}}
    assert told(agents, **other, Sockets=sockets) == [
        "holds /h/run/mlxd.sock too: set another server.socket"
    ]


@pytest.mark.parametrize(
    "plist",
    [
        {"ProgramArguments": ["/usr/bin/tail", "-f", "mlxd.log"]},
        {"ProgramArguments": "mlxd", "Sockets": "mlxd", "EnvironmentVariables": "mlxd"},
        {"Sockets": {"mlxd": "8080"}},
        {"StartInterval": 8080},
    ],
)
def test_a_job_that_only_mentions_mlxd_is_no_conflict(
    agents: Path, plist: dict[str, object]
) -> None:
    assert told(agents, **plist) == []


def test_a_file_that_is_no_plist_is_no_conflict(agents: Path) -> None:
    (agents / "other.plist").write_text("mlxd")
    assert list(conflicts(beside(agents / "own.plist"))) == []


def test_only_a_mac_has_such_jobs(home: Path, agents: Path) -> None:
    own = agents / "own.plist"
    job = {"Program": "/bin/mlxd", "EnvironmentVariables": {"MLXD_HOME": str(home)}}
    (agents / "other.plist").write_bytes(plistlib.dumps({"Label": "x", **job}))
    assert len(list(conflicts(beside(own)))) == 1
    assert list(conflicts(replace(beside(own), machine=replace(MAC, system="Linux")))) == []
