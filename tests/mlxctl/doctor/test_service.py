from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as with_fields

from mlxctl.doctor import service
from mlxctl.doctor.situation import Situation
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
