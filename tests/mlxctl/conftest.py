"""`mlxctl` as a process on a home of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlxd import lock, network
from tests.support.fake_daemon import FakeDaemon, fake_daemon

DEADLINE = 60.0

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty MLXD_HOME; its path is short enough for a Unix socket."""
    # A daemon that lost a race to start may still be leaving, with a file in the folder.
    with tempfile.TemporaryDirectory(prefix="mlxd", ignore_cleanup_errors=True) as folder:
        home = Path(folder).resolve()
        monkeypatch.setenv("MLXD_HOME", str(home))
        monkeypatch.setenv("MLXD_SERVER__PORT", "0")
        yield home


@pytest.fixture
def listener(home: Path) -> Iterator[FakeDaemon]:
    """A socket that answers although no daemon runs, like one that launchd would start."""
    with fake_daemon(home / "run" / "mlxd.sock") as listener:
        yield listener


@pytest.fixture
def daemon(home: Path, listener: FakeDaemon) -> Iterator[FakeDaemon]:
    with lock.hold(home / "run" / "mlxd.lock"):
        yield listener


@pytest.fixture
def mlxctl(home: Path) -> Run:
    """Run `mlxctl` with `piped` as its standard input, and wait until it ends."""

    def run(
        *arguments: str | Path, piped: bytes = b"", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command(*arguments),
            input=piped,
            capture_output=True,
            env={**os.environ, **environ},
            timeout=DEADLINE,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run


def command(*arguments: str | Path) -> list[str]:
    """The command line of `mlxctl ARGUMENTS`."""
    return [sys.executable, "-m", "mlxctl", *map(str, arguments)]


def imported_by(*arguments: str) -> set[str]:
    """The modules in a fresh interpreter after `mlxctl ARGUMENTS`."""
    program = (
        "import sys\n"
        "from mlxctl.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True
    )
    return set(done.stderr.split())


@pytest.fixture(autouse=True)
def _no_network_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the proxies and certificates of this machine out of the services of the tests."""
    for name in network.spellings():
        monkeypatch.delenv(name, raising=False)
