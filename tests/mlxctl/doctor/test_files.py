import os
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlxctl.doctor import files
from mlxd.config import Config, ServerConfig
from tests.mlxctl.doctor.conftest import WELL, only

Usage = namedtuple("Usage", "total used free")
LOCKED = replace(WELL, config=Config(server=ServerConfig(api_key="a-long-secret")))


def test_configuration(home: Path) -> None:
    assert only(files.configuration, WELL) == ("ok", "the defaults", None)
    broken = replace(WELL, config=None, config_fault="one mistake\nanother")
    assert [finding.message for finding in files.configuration(broken)] == [
        "one mistake",
        "another",
    ]
    assert {finding.state for finding in files.configuration(broken)} == {"error"}


def test_the_socket_is_for_its_owner_alone(home: Path) -> None:
    assert only(files.permissions, WELL)[0] == "ok"
    (home / "run").mkdir(mode=0o700)
    (home / "run" / "mlxd.sock").touch(0o600)
    assert only(files.permissions, WELL)[0] == "ok"
    (home / "run" / "mlxd.sock").chmod(0o666)
    state, _message, fix = only(files.permissions, WELL)
    assert (state, fix) == ("error", f"chmod go= {home}/run/mlxd.sock")
    (home / "run").chmod(0o755)
    folder, _socket = files.permissions(WELL)
    assert (folder.state, folder.fix) == ("error", f"chmod go= {home}/run")


def test_the_key_is_for_its_owner_alone(home: Path) -> None:
    (home / "config.toml").write_text("")
    (home / "config.toml").chmod(0o644)
    assert only(files.permissions, LOCKED)[0] == "ok"  # the key is in the environment
    (home / "config.toml").write_text('server.api_key = "a-long-secret"')
    assert only(files.permissions, WELL)[0] == "ok"
    assert only(files.permissions, LOCKED)[0] == "warning"
    (home / "config.toml").chmod(0o600)
    assert only(files.permissions, LOCKED)[0] == "ok"


def test_a_folder_of_another_user(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: path != home / "logs" and access(path, mode)
    )
    (home / "logs").mkdir()
    state, message, fix = only(files.permissions, WELL)
    assert (state, message) == ("error", f"{home}/logs cannot be written")
    assert fix == f"sudo chown -R $(id -un) {home}/logs"


def test_a_disk_that_can_only_be_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "logs").mkdir()
    read_only = SimpleNamespace(f_flag=os.ST_RDONLY)
    monkeypatch.setattr(os, "statvfs", lambda _: read_only)
    state, message, fix = only(files.permissions, WELL)
    assert (state, message) == ("error", f"{home} is on a disk that can only be read")
    assert fix is None


@pytest.mark.parametrize(
    ("free", "state"), [(50 * 10**9, "ok"), (5 * 10**9, "warning"), (10**8, "error")]
)
def test_disk(home: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: Usage(10**12, 0, free))
    assert only(files.disk, WELL)[0] == state


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_log_of_another_user(home: Path) -> None:
    (home / "logs").mkdir()
    (home / "logs" / "mlxd.log").touch(0o400)
    assert only(files.permissions, WELL)[0] == "error"
