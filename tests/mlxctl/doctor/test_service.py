import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from msgspec.structs import replace as with_fields

from mlxctl.doctor import service
from mlxctl.doctor.facts import Facts
from mlxctl.service.manager import Fault
from tests.mlxctl.doctor.conftest import ASLEEP, LAUNCHD, RUNNING, STOPPED, WELL, only

SERVES = "2026-11-23 15:53:25.123+01:00 INFO    mlxd: mlxd 0.1.0 serves http://127.0.0.1:8080\n"
STOPS = "2026-11-23 15:53:26.123+01:00 INFO    mlxd: mlxd has stopped\n"
OTHER = "2026-11-23 15:53:26.000+01:00 INFO    mlxd.http: mlxd has stopped\n"
NEVER = "never: disabled"
STOPPED_AT = datetime.fromisoformat("2026-11-23 15:53:26.123+01:00").timestamp()


def states(situation: Facts) -> dict[str, str]:
    return {finding.check: finding.state for finding in service.daemon(situation)}


@pytest.mark.parametrize(
    ("situation", "state", "mend"),
    [
        (WELL, "good", None),
        (STOPPED, "warning", "mlxctl start"),
        (replace(STOPPED, service=LAUNCHD), "warning", "mlxctl start"),
        (ASLEEP, "good", None),
        (replace(ASLEEP, service=with_fields(LAUNCHD, pid=12)), "warning", "mlxctl status"),
        (replace(STOPPED, pid=4711, silence="no answer"), "bad", "mlxctl restart"),
        (replace(WELL, status=with_fields(RUNNING, stopping=True)), "warning", None),
    ],
)
def test_daemon(home: Path, situation: Facts, state: str, mend: str | None) -> None:
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
        (SERVES + OTHER, ASLEEP, "warning"),
        (SERVES + STOPS + SERVES + OTHER, STOPPED, "bad"),
        (SERVES + STOPS + SERVES, WELL, "good"),
        (SERVES + SERVES + OTHER, WELL, "warning"),
        (SERVES, WELL, None),
        ("", STOPPED, None),
    ],
)
def test_why_the_last_one_ended(home: Path, log: str, situation: Facts, state: str | None) -> None:
    (home / "logs").mkdir()
    (home / "logs" / "mlxd.log").write_text(log)
    assert states(situation).get("last exit") == state


def test_a_daemon_that_has_crashed_is_bad(home: Path) -> None:
    killed = replace(STOPPED, service=with_fields(LAUNCHD, last_exit="Killed: 9"))
    daemon, last = service.daemon(killed)
    assert (daemon.state, daemon.mend) == ("bad", "mlxctl start")
    assert last.message == "it has crashed or was killed (Killed: 9)"


def test_what_it_said_beside_the_log(home: Path) -> None:
    (home / "logs").mkdir()
    output = home / "logs" / "mlxd.stderr.log"
    output.write_text("Traceback\nmlxd: the port is in use\n")
    _, last = service.daemon(STOPPED)
    said = "the last thing it said: mlxd: the port is in use"
    assert (last.state, last.message, last.mend) == ("bad", said, "mlxctl start")
    assert states(STOPPED)["daemon"] == "bad"
    assert "last exit" not in states(WELL)

    (home / "logs" / "mlxd.log").write_text(SERVES + STOPS)
    assert states(STOPPED)["last exit"] == "bad"
    os.utime(output, (STOPPED_AT - 60, STOPPED_AT - 60))  # said by an earlier one
    assert states(STOPPED) == {"daemon": "warning", "last exit": "good"}


def test_nothing_beside_the_log(home: Path) -> None:
    (home / "logs").mkdir()
    (home / "logs" / "mlxd.stderr.log").touch()
    assert states(STOPPED) == {"daemon": "warning"}


@pytest.mark.parametrize(
    ("situation", "state", "mend"),
    [
        (WELL, "good", None),
        (replace(WELL, service=LAUNCHD), "good", None),
        (replace(STOPPED, service=with_fields(LAUNCHD, loaded=False)), "good", None),
        (replace(WELL, service=with_fields(LAUNCHD, starts=NEVER)), "warning", "mlxctl enable"),
        (replace(WELL, service=None, service_fault="launchctl does not end"), "bad", None),
    ],
)
def test_who_starts_it(situation: Facts, state: str, mend: str | None) -> None:
    found = only(service.manager, situation)
    assert (found[0], found[2]) == (state, mend)


def test_what_is_wrong_with_that() -> None:
    fault = Fault("/a: b is old", "mlxctl install")
    faulty = replace(WELL, service=with_fields(LAUNCHD, faults=[fault]))
    assert only(service.manager, faulty) == ("warning", "/a: b is old", "mlxctl install")
