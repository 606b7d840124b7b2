import os
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from mlxctl.doctor import files
from mlxd.config import Config, ServerConfig
from tests.mlxctl.doctor.conftest import WELL, only

Usage = namedtuple("Usage", "total used free")
LOGS = Path("/dev/shm")  # another file system, also for real
LOCKED = replace(WELL, config=Config(server=ServerConfig(api_key="a-long-secret")))


def test_the_socket_is_for_its_owner_alone(home: Path) -> None:
    assert only(files.permissions, WELL)[0] == "good"
    (home / "run").mkdir(mode=0o700)
    (home / "run" / "mlxd.sock").touch(0o600)
    assert only(files.permissions, WELL)[0] == "good"
    (home / "run" / "mlxd.sock").chmod(0o666)
    state, _message, mend = only(files.permissions, WELL)
    assert (state, mend) == ("bad", f"chmod 600 {home}/run/mlxd.sock")
    (home / "run").chmod(0o755)
    assert next(finding.mend for finding in files.permissions(WELL)) == f"chmod 700 {home}/run"


def test_the_key_is_for_its_owner_alone(home: Path) -> None:
    (home / "config.toml").write_text("")
    (home / "config.toml").chmod(0o644)
    assert only(files.permissions, LOCKED)[0] == "good"  # the key is in the environment
    (home / "config.toml").write_text('server.api_key = "a-long-secret"')
    assert only(files.permissions, WELL)[0] == "good"
    assert only(files.permissions, LOCKED)[0] == "warning"
    (home / "config.toml").chmod(0o600)
    assert only(files.permissions, LOCKED)[0] == "good"


def test_a_folder_of_another_user(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: path != home / "logs" and access(path, mode)
    )
    (home / "logs").mkdir()
    state, message, mend = only(files.permissions, WELL)
    assert (state, message) == ("bad", f"{home}/logs cannot be written")
    assert mend == f"sudo chown -R $(id -un) {home}/logs"


@pytest.mark.parametrize(
    ("free", "state"), [(50 * 10**9, "good"), (5 * 10**9, "warning"), (10**8, "bad")]
)
def test_disk(home: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: Usage(10**12, 0, free))
    assert only(files.disk, WELL)[0] == state


def test_a_file_where_a_folder_is_to_be(home: Path) -> None:
    (home / "logs").touch()
    state, message, mend = only(files.permissions, WELL)
    assert (state, message) == ("bad", f"{home}/logs is no folder")
    assert mend == f"mv {home}/logs {home}/logs.old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_log_of_another_user(home: Path) -> None:
    (home / "logs").mkdir()
    (home / "logs" / "mlxd.log").touch(0o400)
    assert only(files.permissions, WELL)[0] == "bad"


def test_a_full_disk_for_the_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(folder: Path) -> Usage:
        return Usage(10**12, 0, 10**6 if folder == LOGS else 10**11)

    monkeypatch.setattr(files.shutil, "disk_usage", usage)
    monkeypatch.setattr(files.paths, "log_dir", lambda: LOGS)
    assert [finding.state for finding in files.disk(WELL)] == ["good", "bad"]


def test_output_beside_the_log_that_has_grown(home: Path) -> None:
    assert list(files.standard_error(WELL)) == []
    (home / "logs").mkdir()
    (home / "logs" / "mlxd.stderr.log").write_text("x" * 1_500_000)
    assert only(files.standard_error, WELL)[0] == "warning"
