"""An engine that hangs in a call into C ends by itself, in a process that plays the engine."""

import signal
import subprocess
import sys

import pytest

from mlxd.engine.alarm import alarm_seconds

SECONDS = 2
PLAY = f"""
import ctypes, signal, time
from mlxd.engine.alarm import Alarm

alarm = Alarm({SECONDS})
sleep_with_the_lock = ctypes.PyDLL(None).sleep
"""


def end_of(acts: str) -> int:
    """Return the exit status of an engine that does so."""
    done = subprocess.run([sys.executable, "-c", PLAY + acts], check=False, timeout=60)
    return done.returncode


def test_a_call_that_keeps_the_lock_ends_the_process() -> None:
    assert end_of("alarm.work(); sleep_with_the_lock(50)") == -signal.SIGALRM


@pytest.mark.parametrize(
    "acts",
    [
        "alarm.work(); time.sleep(5)",
        "alarm.work(); time.sleep(0.1); alarm.rest(); sleep_with_the_lock(4)",
        "alarm.rest(); time.sleep(4)",
    ],
    ids=["a long step", "done", "idle"],
)
def test_other_engines_live_on(acts: str) -> None:
    check = "\nalarm.rest(); assert signal.getitimer(signal.ITIMER_REAL)[0] == 0"
    assert end_of(acts + check) == 0


def test_the_watchdog_of_the_daemon_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert alarm_seconds(30) == 180
    assert alarm_seconds(600) == 660
    assert alarm_seconds(0) == 0


def test_linux_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert alarm_seconds(30) == 0
