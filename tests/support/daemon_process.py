"""The real daemon as a process: `python -m mlxd` on a home of its own and a free port."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.shared import one_at_a_time

DEADLINE = 60.0


@dataclass
class DaemonProcess:
    """A running daemon; `local` talks to its Unix socket, `url` is where TCP clients go."""

    process: subprocess.Popen[str] | None
    home: Path
    local: httpx.Client
    url: str

    @property
    def socket(self) -> Path:
        return self.home / "run" / "mlxd.sock"

    def status(self) -> dict:
        return self.local.get("/control/v1/status").json()

    def log(self) -> str:
        return (self.home / "daemon.out").read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


def run_mlxd(home: Path, *flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `mlxd` to its end, as one does that should refuse to start."""
    return subprocess.run(
        [sys.executable, "-m", "mlxd", *flags],
        env={**os.environ, "MLXD_HOME": str(home), "MLXD_SERVER__PORT": "0", **environ},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


@contextmanager
def running_daemon(
    home: Path, *flags: str, program: Sequence[str] = ("-m", "mlxd"), **environ: str
) -> Iterator[DaemonProcess]:
    """Run `mlxd` until the block ends; its output is in HOME/daemon.out.

    `program` is what Python runs instead, such as tests/fakes/scripted_daemon.py.
    """
    with (
        (home / "daemon.out").open("a") as output,
        subprocess.Popen(
            [sys.executable, *program, *flags],
            env={**os.environ, "MLXD_HOME": str(home), "MLXD_SERVER__PORT": "0", **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        try:
            _wait_until_listening(process, home)
            with _client(home) as local:
                url = local.get("/control/v1/status").json()["url"]
                yield DaemonProcess(process, home, local, url)
        finally:
            process.kill()


@contextmanager
def shared_daemon(folder: Path, *flags: str, **environ: str) -> Iterator[DaemonProcess]:
    """Use the one daemon that all processes of a test run share, for tests that only ask it.

    The first process starts it, and at its end waits for the others that use it. `folder` holds
    what they tell each other.
    """
    with ExitStack() as stack:
        users = stack.enter_context((folder / "users").open("w"))
        told = folder / "daemon.json"
        with one_at_a_time(folder):
            fcntl.flock(users, fcntl.LOCK_SH)
            if told.exists():
                home, url = json.loads(told.read_text())
                local = stack.enter_context(_client(Path(home)))
                daemon = DaemonProcess(None, Path(home), local, url)
            else:
                temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="mlxd"))
                daemon = stack.enter_context(running_daemon(Path(temporary), *flags, **environ))
                told.write_text(json.dumps([temporary, daemon.url]))
        yield daemon
        if daemon.process is not None:
            with one_at_a_time(folder):
                told.unlink()
            fcntl.flock(users, fcntl.LOCK_EX)


def _client(home: Path) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(home / "run" / "mlxd.sock"))
    return httpx.Client(transport=transport, base_url="http://localhost", timeout=DEADLINE)


def wait_until(condition, what: str) -> None:
    """Wait until `condition()` is true, failing with `what` at the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"still not so: {what}"
        time.sleep(0.01)


def _wait_until_listening(process: subprocess.Popen[str], home: Path) -> None:
    """Wait for the Unix socket; httpx leaks a socket for each connection that is refused."""
    path = home / "run" / "mlxd.sock"

    def listens() -> bool:
        assert process.poll() is None, (home / "daemon.out").read_text()
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(path)) == 0

    wait_until(listens, "the daemon listens")
