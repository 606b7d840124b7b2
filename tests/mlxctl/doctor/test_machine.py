from dataclasses import replace
from importlib.metadata import metadata

import pytest
from msgspec.structs import replace as with_fields

from mlxctl.doctor import machine
from mlxctl.doctor.facts import this_machine
from tests.mlxctl.doctor.conftest import LAUNCHD, MAC, RUNNING, STOPPED, WELL, only


@pytest.mark.parametrize(
    ("changes", "state", "says"),
    [
        ({}, "good", "macOS 15.1, Apple M3 Max"),
        ({"release": "13.6"}, "bad", "macOS 14"),
        ({"processor": "x86_64", "chip": "Intel Core i7"}, "bad", "Apple silicon"),
        ({"system": "Linux", "processor": "x86_64"}, "good", "CPU"),
        ({"system": "Windows"}, "bad", "macOS and Linux"),
    ],
)
def test_platform(changes: dict[str, str], state: str, says: str) -> None:
    found = only(machine.platform, replace(WELL, machine=replace(MAC, **changes)))
    assert found[0] == state
    assert says in found[1]


@pytest.mark.parametrize(
    ("limit_gib", "wired_mb", "state", "says"),
    [
        (48, 0, "good", "of 69 GB"),
        (70, 0, "bad", "more than there is"),
        (62, 0, "warning", "swap"),
        (48, 40_000, "warning", "iogpu.wired_limit_mb"),
        (48, 56_000, "good", "of 69 GB"),
    ],
)
def test_memory(limit_gib: int, wired_mb: int, state: str, says: str) -> None:
    status = with_fields(RUNNING, memory_limit_bytes=limit_gib * 2**30)
    found = only(
        machine.memory, replace(WELL, status=status, machine=replace(MAC, wired_limit_mb=wired_mb))
    )
    assert found[0] == state
    assert says in found[1]
    assert (found[2] is None) is (state == "good")


def test_more_than_the_system_can_spare_for_metal() -> None:
    much = replace(WELL, machine=replace(MAC, wired_limit_mb=65_000))
    first, second = machine.memory(much)
    assert (first.state, first.mend) == ("warning", "sudo sysctl iogpu.wired_limit_mb=0")
    assert second.state == "good"


def test_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(machine.python, WELL)[0] == "good"
    rosetta = replace(WELL, machine=replace(MAC, processor="x86_64", translated=True))
    assert only(machine.platform, rosetta)[0] == "good"
    state, message, _ = only(machine.python, rosetta)
    assert (state, "Rosetta" in message) == ("bad", True)
    monkeypatch.setattr(machine.sys, "version_info", (3, 10, 1))
    assert only(machine.python, WELL)[0] == "bad"


def test_the_oldest_python_is_the_projects() -> None:
    oldest = ".".join(map(str, machine.OLDEST_PYTHON))
    assert metadata("mlxd")["Requires-Python"] == f">={oldest}"


@pytest.mark.parametrize(("most", "state"), [(256, "warning"), (8192, None), (-1, None)])
def test_open_files(monkeypatch: pytest.MonkeyPatch, most: int, state: str | None) -> None:
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (256, most))
    by_hand = [finding.state for finding in machine.open_files(WELL)]
    assert by_hand == ([state] if state else [])
    assert list(machine.open_files(replace(WELL, service=LAUNCHD))) == []  # which allows enough


def test_memory_without_a_daemon_or_a_limit() -> None:
    assert only(machine.memory, STOPPED)[0] == "good"


def test_this_machine() -> None:
    assert this_machine().memory_bytes > 2**28
    assert this_machine().system
