"""`mlxctl` as a process, on the home of a daemon."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.daemon_process import DEADLINE


def mlxctl(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a command, for `finish`."""
    return subprocess.Popen(
        [sys.executable, "-m", "mlxctl", *arguments],
        env={**os.environ, "MLXD_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return its exit status and what it printed."""
    with process:
        out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, out, err


def printed(home: Path, *arguments: str) -> str:
    """Run a command, and return all that it prints."""
    _, out, err = finish(mlxctl(home, *arguments))
    return (out + err).strip()
