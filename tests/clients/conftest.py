"""One daemon with a real model for all clients, each of which has an environment of its own.

Their packages contradict each other, and ours need none of them; dependency groups named
`client-…` in pyproject.toml say what is installed, once, into .cache/clients.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.daemon_process import DaemonProcess

MODEL = "smollm2-135m"
REPOSITORY = Path(__file__).resolve().parent.parent.parent
PROGRAMS = Path(__file__).with_name("programs")
NODE = Path(__file__).with_name("node")
CACHE = REPOSITORY / ".cache" / "clients"
INSTALL_SECONDS, ANSWER_SECONDS = 600, 240


@pytest.fixture(scope="session")
def daemon(smollm2_daemon: DaemonProcess) -> DaemonProcess:
    return smollm2_daemon


class Client:
    """Runs programs that use one client, and gives what they print."""

    def __init__(self, command: list[str | Path], url: str) -> None:
        self._command = command
        self._url = url

    def run(self, *arguments: str | Path, **environ: str) -> str:
        """Run the client to its end, as its user would."""
        done = subprocess.run(
            [*self._command, *arguments],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def report(self) -> dict[str, Any]:
        """Run the client's program of ours, which ends with a line of JSON."""
        report: dict[str, Any] = json.loads(self.run(self._url, MODEL).splitlines()[-1])
        return report


def environment(group: str) -> Path:
    """Give the folder of an environment that has a dependency group, made where it is not."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wanted = json.dumps(project["dependency-groups"][group])
    folder = CACHE / group
    stamp = folder / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(folder, clear=True, with_pip=False, symlinks=True)
        python = folder / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
        subprocess.run(
            [*pip, "--group", group], cwd=REPOSITORY, check=True, timeout=INSTALL_SECONDS
        )
        stamp.write_text(wanted)
    return folder


def python_client(name: str, daemon: DaemonProcess) -> Client:
    """Give the client of `programs/NAME_client.py`, with the packages of `client-NAME`."""
    python = environment(f"client-{name}") / "bin" / "python"
    program = PROGRAMS / f"{name.replace('-', '_')}_client.py"
    return Client([python, program], f"{daemon.url}/v1")


def node_client(daemon: DaemonProcess) -> Client:
    """Give the client of `node/client.mjs`, with the packages of its package.json."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("there is no Node.js")
    folder = CACHE / "node"
    shutil.copytree(NODE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    wanted = (folder / "package.json").read_text()
    stamp = folder / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        install = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(install, cwd=folder, check=True, timeout=INSTALL_SECONDS)
        stamp.write_text(wanted)
    return Client([node, folder / "client.mjs"], f"{daemon.url}/v1")
