"""How the daemon is seen from outside; tests/mlxctl/test_service.py has it start and stop."""

from pathlib import Path

import pytest

from mlxctl.service.probe import Probe
from mlxd import config, lock, paths
from mlxd.errors import StartupError
from mlxd.run_record import RunEnd, recorded


def fail(message: str) -> None:
    """Start and fail as a daemon does."""
    paths.runtime_dir().mkdir(exist_ok=True)
    with pytest.raises(StartupError), recorded(paths.run_record_file()):
        raise StartupError(message)


def test_only_a_failure_since_then_explains_a_start(home: Path) -> None:
    fail("the port is in use")
    probe = Probe(config.load())
    assert probe.start_failure() == ""
    assert probe.last_end() == RunEnd("failed", "the port is in use")
    fail("no permission")
    assert probe.start_failure() == "no permission"


def test_while_a_daemon_runs_the_last_end_is_that_of_the_one_before(home: Path) -> None:
    probe = Probe(config.load())
    assert probe.last_end() is None
    fail("the port is in use")
    with lock.hold(paths.lock_file()), recorded(paths.run_record_file()):
        assert probe.last_end() == RunEnd("failed", "the port is in use")
        assert probe.start_failure() == ""
    assert probe.last_end() == RunEnd("stopped")


def test_a_daemon_that_does_not_answer_has_no_status(home: Path) -> None:
    probe = Probe(config.load())
    assert probe.status() is None
    assert probe.healthy() is None
