"""`mlxctl top` in a real terminal beside a real daemon that answers a long request."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.daemon_process import DEADLINE, DaemonProcess, running_daemon, wait_until
from tests.support.tmux import Terminal, needs_tmux, shell

pytestmark = [needs_tmux, pytest.mark.slow]

NEVER_ENDS = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 4000,
    "stream": True,
}


@pytest.fixture
def daemon(tiny_model: Path) -> Iterator[DaemonProcess]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        (Path(folder) / "models").mkdir()
        (Path(folder) / "models" / "tiny").symlink_to(tiny_model)
        with running_daemon(Path(folder)) as daemon:
            yield daemon


@pytest.fixture
def terminal(daemon: DaemonProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("MLXD_HOME", str(daemon.home))
    with shell(daemon.home) as terminal:
        yield terminal


def test_a_request_is_seen_while_it_runs_and_after(
    daemon: DaemonProcess, terminal: Terminal
) -> None:
    terminal.type("mlxctl top")
    terminal.wait_for("no model in memory")
    with httpx.stream(
        "POST", f"{daemon.url}/v1/chat/completions", json=NEVER_ENDS, timeout=DEADLINE
    ) as reply:
        lines = reply.iter_lines()  # which would close the stream if it were not kept
        next(lines)
        screen = terminal.wait_for("\nwriting  tiny")
        assert "\ntiny            ready" in screen
        wait_until(lambda: "\n0 tok/s" not in terminal.screen(), "the speed is shown")
    assert "tiny" in terminal.wait_for("\naborted  tiny")
    # The daemon is asked again and again, and its log does not tell so.
    assert "/control/v1/activity" not in daemon.log()
    daemon.stop()
    terminal.wait_for("mlxd is not running; start it with: mlxctl start")
    terminal.press("q")
    wait_until(terminal.is_normal, "it has ended")
