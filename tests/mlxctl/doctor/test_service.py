import os
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as with_fields

from mlxctl.doctor import service
from mlxctl.doctor.situation import Situation
from mlxctl.service.manager import ServiceStatus
from tests.mlxctl.doctor.conftest import RUNNING, STOPPED, WELL, only

SERVES = "2026-11-23 15:53:25.123+01:00 INFO    mlxd: mlxd 0.1.0 serves http://127.0.0.1:8080\n"
STOPS = "2026-11-23 15:53:26.123+01:00 INFO    mlxd: mlxd has stopped\n"
OTHER = "2026-11-23 15:53:26.000+01:00 INFO    mlxd.http: mlxd has stopped\n"


@pytest.mark.parametrize(
    ("situation", "state", "mend"),
    [
        (WELL, "good", None),
        (STOPPED, "warning", "mlxctl start"),
        (replace(STOPPED, pid=4711, silence="no answer"), "bad", "mlxctl restart"),
        (replace(WELL, status=with_fields(RUNNING, stopping=True)), "warning", None),
    ],
)
def test_daemon(situation: Situation, state: str, mend: str | None) -> None:
    found = only(service.daemon, situation)
    assert (found[0], found[2]) == (state, mend)


def test_a_daemon_that_an_upgrade_left_running() -> None:
    assert list(service.version(WELL)) == []
    old = replace(WELL, status=with_fields(RUNNING, version="0.0.1"))
    assert only(service.version, old)[::2] == ("warning", "mlxctl restart")


@pytest.mark.parametrize(
    ("log", "situation", "state"),
    [
        (SERVES + STOPS, STOPPED, "good"),
        (SERVES + OTHER, STOPPED, "bad"),
        (SERVES + STOPS + SERVES + OTHER, STOPPED, "bad"),
        (SERVES + STOPS + SERVES, WELL, "good"),
        (SERVES + SERVES + OTHER, WELL, "warning"),
        (SERVES, WELL, None),
        ("", STOPPED, None),
    ],
)
def test_why_the_last_one_ended(
    home: Path, log: str, situation: Situation, state: str | None
) -> None:
    (home / "logs").mkdir()
    (home / "logs" / "mlxd.log").write_text(log)
    found = [finding.state for finding in service.last_exit(situation)]
    assert found == ([state] if state else [])


def test_what_it_said_beside_the_log(home: Path) -> None:
    assert list(service.last_exit(STOPPED)) == []
    (home / "logs").mkdir()
    (home / "logs" / "mlxd.stderr.log").write_text("Traceback\nmlxd: the port is in use\n")
    state, message, _ = only(service.last_exit, STOPPED)
    assert (state, message) == ("bad", "the last thing it said: mlxd: the port is in use")
    assert list(service.last_exit(WELL)) == []


LAUNCHD = ServiceStatus(
    manager="launchd", label="gui/501/dev.mlxd", loaded=True, keeps_sockets=True, starts="on demand"
)


@pytest.mark.parametrize(
    ("status", "findings"),
    [
        (
            ServiceStatus(manager="none"),
            [("good", "none: mlxctl start runs it; mlxctl install has it start by itself", None)],
        ),
        (LAUNCHD, [("good", "launchd (gui/501/dev.mlxd) starts it on demand", None)]),
        (
            with_fields(LAUNCHD, faults=["launchd is told never to start it: mlxctl enable"]),
            [("warning", "launchd is told never to start it", "mlxctl enable")],
        ),
    ],
)
def test_who_starts_it(status: ServiceStatus, findings: list[tuple[str, str, str | None]]) -> None:
    found = service.manager(replace(STOPPED, service=status))
    assert [(each.state, each.message, each.mend) for each in found] == findings


def test_a_service_that_cannot_be_asked_about() -> None:
    silent = replace(STOPPED, service_fault="launchctl: Permission denied")
    assert next(service.manager(silent)).state == "bad"


def test_one_that_sleeps_is_well() -> None:
    asleep = replace(STOPPED, service=LAUNCHD, asleep=True)
    assert only(service.daemon, asleep)[:2] == (
        "good",
        "mlxd is not running; the first connection starts it",
    )


def test_one_that_starts() -> None:
    starting = replace(STOPPED, service=with_fields(LAUNCHD, pid=12))
    assert only(service.daemon, starting)[1] == "mlxd is starting (pid 12)"


def test_what_was_said_before_the_last_daemon_logged_is_old(home: Path) -> None:
    (home / "logs").mkdir()
    (home / "logs" / "mlxd.stderr.log").write_text("mlxd: the port is in use\n")
    os.utime(home / "logs" / "mlxd.stderr.log", (1, 1))
    (home / "logs" / "mlxd.log").write_text(SERVES + STOPS)
    assert only(service.last_exit, STOPPED)[0] == "good"


def test_a_crash_is_told_with_what_the_manager_knows(home: Path) -> None:
    (home / "logs").mkdir()
    (home / "logs" / "mlxd.log").write_text(SERVES)
    killed = replace(STOPPED, service=with_fields(LAUNCHD, last_exit="Killed: 9"))
    assert only(service.last_exit, killed)[1] == "it has crashed or was killed (Killed: 9)"
