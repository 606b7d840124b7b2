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
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon_process import DaemonProcess
from tests.support.shared import one_at_a_time

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

    def run(self, *arguments: str | Path, folder: Path | None = None, **environ: str) -> str:
        """Run the client to its end, in `folder` if there is one, as its user would."""
        done = subprocess.run(
            [*self._command, *arguments],
            # A compiled package starts in a fraction of the time, whatever this machine is told.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **_here(folder), **environ},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr
        return done.stdout

    def report(self, url: str = "", model: str = MODEL) -> dict[str, Any]:
        """Run the client's program of ours, which ends with a line of JSON."""
        report: dict[str, Any] = json.loads(self.run(url or self._url, model).splitlines()[-1])
        return report


def _here(folder: Path | None) -> dict[str, str]:
    """Return the variable that says where a program is; a shell sets it, `subprocess` does not."""
    return {} if folder is None else {"PWD": str(folder)}


def make_environment(group: str, packages: list[str]) -> Path:
    """Return the folder of an environment that has a dependency group, making it if necessary."""
    folder = CACHE / group
    stamp = folder / "installed.json"
    wanted = json.dumps(packages)
    with one_at_a_time(folder):
        if not stamp.exists() or stamp.read_text() != wanted:
            venv.create(folder, clear=True, with_pip=False, symlinks=True)
            python = folder / "bin" / "python"
            pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
            subprocess.run(
                [*pip, "--no-compile", "--group", group],
                cwd=REPOSITORY,
                check=True,
                timeout=INSTALL_SECONDS,
            )
            stamp.write_text(wanted)
    return folder


def make_node_environment(npm: str) -> Path:
    """Return a copy of `node/` with the packages of its package.json, making it if necessary."""
    folder = CACHE / "node"
    stamp = folder / "installed.json"
    wanted = (NODE / "package.json").read_text()
    with one_at_a_time(folder):
        ignore = shutil.ignore_patterns("node_modules")
        shutil.copytree(NODE, folder, dirs_exist_ok=True, ignore=ignore)
        if not stamp.exists() or stamp.read_text() != wanted:
            install = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
            subprocess.run(install, cwd=folder, check=True, timeout=INSTALL_SECONDS)
            stamp.write_text(wanted)
    return folder


class Environments:
    """Every client's environment; all are made at once, since most of that is waiting."""

    def __init__(self, executor: Executor) -> None:
        groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
        self._made = {
            group: executor.submit(make_environment, group, packages)
            for group, packages in groups.items()
            if group.startswith("client-")
        }
        if (npm := shutil.which("npm")) is not None:
            self._made["node"] = executor.submit(make_node_environment, npm)

    def command(self, group: str, name: str) -> Path:
        """Give an installed command of a `client-…` group."""
        return self._made[group].result() / "bin" / name

    def python_client(self, name: str, daemon: DaemonProcess) -> Client:
        """Give the client of `programs/NAME_client.py`, with the packages of `client-NAME`."""
        program = PROGRAMS / f"{name.replace('-', '_')}_client.py"
        return Client([self.command(f"client-{name}", "python"), program], f"{daemon.url}/v1")

    def node_client(self, daemon: DaemonProcess, program: str = "client.mjs") -> Client:
        """Give a client of `node/`, with the packages of its package.json."""
        return Client(["node", self._node() / program], f"{daemon.url}/v1")

    def node_command(self, name: str) -> Path:
        """Give an installed command of the packages of `node/package.json`."""
        return self._node() / "node_modules" / ".bin" / name

    def _node(self) -> Path:
        if "node" not in self._made:
            pytest.skip("there is no Node.js")
        return self._made["node"].result()


@pytest.fixture(scope="session")
def environments() -> Iterator[Environments]:
    with ThreadPoolExecutor() as executor:
        yield Environments(executor)
