from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as with_fields

from mlxctl.doctor import machine
from mlxd.config import Config, ServerConfig
from tests.mlxctl.doctor.conftest import LAUNCHD, MAC, RUNNING, STOPPED, WELL, only

LINUX = replace(MAC, system="Linux")


@pytest.mark.parametrize(
    ("changes", "state", "says"),
    [
        ({}, "ok", "macOS 15.1, Apple M3 Max"),
        ({"release": "13.6"}, "error", "macOS 14"),
        ({"processor": "x86_64", "chip": "Intel Core i7"}, "error", "Apple silicon"),
        ({"system": "Linux", "processor": "x86_64"}, "ok", "CPU"),
    ],
)
def test_platform(changes: dict[str, str], state: str, says: str) -> None:
    found = only(machine.platform, replace(WELL, machine=replace(MAC, **changes)))
    assert found[0] == state
    assert says in found[1]


@pytest.mark.parametrize(
    ("limit_gib", "wired_mb", "state", "says"),
    [
        (48, 0, "ok", "of 69 GB"),
        (70, 0, "error", "more than there is"),
        (62, 0, "warning", "swap"),
        (48, 40_000, "warning", "iogpu.wired_limit_mb"),
        (48, 56_000, "ok", "of 69 GB"),
    ],
)
def test_memory(limit_gib: int, wired_mb: int, state: str, says: str) -> None:
    status = with_fields(RUNNING, memory_limit_bytes=limit_gib * 2**30)
    found = only(
        machine.memory, replace(WELL, status=status, machine=replace(MAC, wired_limit_mb=wired_mb))
    )
    assert found[0] == state
    assert says in found[1]
    assert (found[2] is None) is (state == "ok")


def test_more_than_the_system_can_spare_for_metal() -> None:
    much = replace(WELL, machine=replace(MAC, wired_limit_mb=65_000))
    first, second = machine.memory(much)
    assert (first.state, first.fix) == ("warning", "sudo sysctl iogpu.wired_limit_mb=0")
    assert second.state == "ok"


def test_python() -> None:
    assert only(machine.python, WELL)[0] == "ok"
    rosetta = replace(WELL, machine=replace(MAC, processor="x86_64", translated=True))
    assert only(machine.platform, rosetta)[0] == "ok"
    state, message, _ = only(machine.python, rosetta)
    assert (state, "Rosetta" in message) == ("error", True)


@pytest.mark.parametrize(
    ("most", "queue", "state"),
    [(256, 9, "error"), (4096, 9000, "warning"), (8192, 9, None), (-1, 9, None)],
)
def test_open_files(
    monkeypatch: pytest.MonkeyPatch, most: int, queue: int, state: str | None
) -> None:
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (256, most))
    queued = replace(WELL, config=Config(server=ServerConfig(max_queue=queue)))
    by_hand = [finding.state for finding in machine.open_files(queued)]
    assert by_hand == ([state] if state else [])
    assert list(machine.open_files(replace(WELL, service=LAUNCHD))) == []  # which allows enough


def test_memory_without_a_daemon_or_a_limit() -> None:
    assert only(machine.memory, STOPPED)[0] == "ok"


def test_mlx_computes_for_real() -> None:
    assert only(machine.mlx, replace(WELL, machine=LINUX))[0] == "ok"


def python(tmp_path: Path, script: str) -> str:
    """A Python that runs `script` instead."""
    file = tmp_path / "python"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o700)
    return str(file)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'ModuleNotFoundError: No module named mlx' >&2; exit 1", "No module named mlx"),
        ("kill -ABRT $$", "signal 6"),
        ("exit 3", "status 3"),
    ],
)
def test_a_python_without_mlx_is_an_error(tmp_path: Path, script: str, says: str) -> None:
    finding = machine.computes(python(tmp_path, script), on_mac=True)
    assert finding.state == "error"
    assert says in finding.message
    assert "pip install" in finding.fix


def test_an_mlx_that_hangs_is_an_error(tmp_path: Path) -> None:
    finding = machine.computes(python(tmp_path, "exec sleep 60"), on_mac=True, seconds=0.1)
    assert finding.state == "error"
    assert "did not end within 0.1 s" in finding.message


@pytest.mark.parametrize(
    ("device", "on_mac", "state"), [("gpu", True, "ok"), ("cpu", True, "warning")]
)
def test_a_mac_computes_on_its_gpu(tmp_path: Path, device: str, on_mac: bool, state: str) -> None:
    computing = python(tmp_path, f"echo DeviceType.{device}")
    assert machine.computes(computing, on_mac=on_mac).state == state


def test_homebrews_python_is_reinstalled_by_homebrew() -> None:
    missing = "/opt/homebrew/Cellar/mlxd/1.0/libexec/bin/python"
    assert machine.computes(missing, on_mac=True).fix == "brew reinstall mlxd"
    assert machine.computes("/a b/python", on_mac=True).fix.startswith("'/a b/python' -m pip ")
