from dataclasses import replace

import pytest
from msgspec.structs import replace as with_fields

from mlxctl.doctor import service
from mlxctl.doctor.facts import Facts
from mlxctl.service.manager import Fault
from mlxd.run_record import RunEnd
from tests.mlxctl.doctor.conftest import ASLEEP, LAUNCHD, RUNNING, STOPPED, WELL, only

NEVER = "never: disabled"
UNLOADED = with_fields(LAUNCHD, loaded=False, keeps_sockets=False)
CRASHED, DONE = RunEnd("crashed"), RunEnd("stopped")
PORT, MISTAKE = RunEnd("failed", "the port is in use"), RunEnd("configuration", "log.keep: 0")


@pytest.mark.parametrize(
    ("facts", "state", "fix"),
    [
        (WELL, "ok", None),
        (STOPPED, "warning", "mlxctl start"),
        (replace(STOPPED, service=UNLOADED), "warning", "mlxctl start"),
        (ASLEEP, "ok", None),
        (replace(ASLEEP, service=with_fields(LAUNCHD, pid=12)), "warning", "mlxctl status"),
        (replace(STOPPED, pid=4711, silence="no answer"), "error", "mlxctl restart"),
        (replace(WELL, status=with_fields(RUNNING, stopping=True)), "warning", None),
    ],
)
def test_daemon(facts: Facts, state: str, fix: str | None) -> None:
    found = only(service.daemon, facts)
    assert (found[0], found[2]) == (state, fix)


def test_a_daemon_that_an_upgrade_left_running() -> None:
    assert list(service.version(WELL)) == []
    old = replace(WELL, status=with_fields(RUNNING, version="0.0.1"))
    assert only(service.version, old)[::2] == ("warning", "mlxctl restart")


@pytest.mark.parametrize(
    ("facts", "end", "found"),
    [
        (STOPPED, None, None),
        (STOPPED, DONE, ("ok", None)),
        (WELL, DONE, ("ok", None)),
        (STOPPED, CRASHED, ("error", "mlxctl logs -n 20")),
        (ASLEEP, CRASHED, ("warning", "mlxctl logs -n 20")),
        (WELL, CRASHED, ("warning", "mlxctl logs --level warning")),
        (STOPPED, PORT, ("error", "mlxctl start")),
        (ASLEEP, MISTAKE, ("error", "mlxctl config validate")),
        (WELL, PORT, None),
    ],
)
def test_how_the_last_one_ended(
    facts: Facts, end: RunEnd | None, found: tuple[str, str | None] | None
) -> None:
    findings = service.daemon(replace(facts, last_end=end))
    exits = [(each.state, each.fix) for each in findings if each.check == "last exit"]
    assert exits == ([found] if found else [])


def test_a_daemon_that_failed_or_crashed_is_an_error() -> None:
    daemon, last = service.daemon(replace(STOPPED, last_end=PORT))
    assert (daemon.state, daemon.fix) == ("error", "mlxctl start")
    assert last.message == "mlxd failed: the port is in use"
    killed = replace(STOPPED, service=with_fields(UNLOADED, last_exit="Killed: 9"))
    daemon, last = service.daemon(killed)  # of one that left no record
    assert (daemon.state, daemon.fix) == ("error", "mlxctl start")
    assert last.message == "mlxd crashed or was killed (Killed: 9)"


@pytest.mark.parametrize(
    ("facts", "state", "fix"),
    [
        (WELL, "ok", None),
        (replace(WELL, service=LAUNCHD), "ok", None),
        (replace(STOPPED, service=UNLOADED), "ok", None),
        (replace(WELL, service=with_fields(LAUNCHD, starts=NEVER)), "warning", "mlxctl enable"),
        (replace(WELL, service=None, service_fault="launchctl does not end"), "error", None),
    ],
)
def test_what_starts_the_daemon_and_how_to_fix_it(
    facts: Facts, state: str, fix: str | None
) -> None:
    found = only(service.manager, facts)
    assert (found[0], found[2]) == (state, fix)


def test_a_fault_of_the_service_is_a_warning() -> None:
    fault = Fault("/a: b is old", "mlxctl install")
    faulty = replace(WELL, service=with_fields(LAUNCHD, faults=[fault]))
    assert only(service.manager, faulty) == ("warning", "/a: b is old", "mlxctl install")
