"""Other jobs of launchd in the way of ours."""

import os
import plistlib
from pathlib import Path

import pytest

from mlxctl.service.conflicts import rivals
from mlxd.config import Config, ServerConfig

CONFIG = Config(server=ServerConfig(port=8080, socket="/h/run/mlxd.sock"))
UNLOAD = f"launchctl bootout gui/{os.getuid()}/x"


def told(folder: Path, name: str = "x", **plist: object) -> list[str]:
    file = folder / f"{name}.plist"
    file.write_bytes(plistlib.dumps({"Label": name, **plist}))
    own = folder / "own.plist"
    own.write_bytes(plistlib.dumps({"Label": "own", "ProgramArguments": ["mlxd"]}))
    return [line.removeprefix(f"{file} ") for line in rivals(own, CONFIG, [folder])]


@pytest.mark.parametrize(
    "plist",
    [
        {"ProgramArguments": ["/opt/bin/mlxd", "--port", "1"]},
        {"Program": "/opt/bin/mlxd"},
        {"ProgramArguments": ["/opt/bin/python", "-m", "mlxd"]},
    ],
)
def test_another_label_that_starts_mlxd(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plist: dict[str, object]
) -> None:
    theirs = {"EnvironmentVariables": {"MLXD_HOME": str(home)}}
    removal = f"starts mlxd as well: {UNLOAD}; rm {tmp_path / 'x.plist'}"
    assert told(tmp_path, **plist, **theirs) == [removal]
    assert told(tmp_path, **plist) == []  # of another home
    monkeypatch.delenv("MLXD_HOME")
    assert told(tmp_path, **plist) == [removal]


def test_another_program_that_keeps_our_port_or_socket(tmp_path: Path) -> None:
    other = {"ProgramArguments": ["/usr/bin/other"]}
    for port in (8080, "8080"):
        sockets = {"web": [{"SockServiceName": "1"}, {"SockServiceName": port}]}
        assert told(tmp_path, **other, Sockets=sockets) == [
            "keeps port 8080 too: set another server.port"
        ]
    sockets = {"local": {"SockPathName": "/h/run/mlxd.sock"}}
    assert told(tmp_path, **other, Sockets=sockets) == [
        "keeps /h/run/mlxd.sock too: set another server.socket"
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
def test_who_only_mentions_it_is_none(tmp_path: Path, plist: dict[str, object]) -> None:
    assert told(tmp_path, **plist) == []


def test_homebrews_is_told_elsewhere_and_a_broken_one_not_at_all(tmp_path: Path) -> None:
    assert told(tmp_path, "homebrew.mxcl.mlxd", ProgramArguments=["mlxd"]) == []
    (tmp_path / "y.plist").write_text("mlxd")
    assert list(rivals(tmp_path / "own.plist", CONFIG, [tmp_path, tmp_path / "none"])) == []
