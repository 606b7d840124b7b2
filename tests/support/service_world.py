"""A user's account on a machine with launchd: the fake launchctl, a HOME, and mlxctl in it."""

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mlxctl.service.description import Description, Mode
from mlxd import lock
from tests.mlxctl.conftest import DEADLINE, command

FAKES = Path(__file__).resolve().parent.parent / "fakes"


def service(mode: Mode = Mode.AT_LOGIN, **changes: object) -> Description:
    """The daemon as a service manager is told about it."""
    fields: dict = {
        "mode": mode,
        "program": ("/opt/mlxd/bin/mlxd", "--log-file", "/h/logs/mlxd.log"),
        "environment": {"MLXD_HOME": "/h"},
        "host": "127.0.0.1",
        "addresses": ("127.0.0.1",),
        "port": 8080,
        "socket": "/h/run/mlxd.sock",
        "stderr": "/h/logs/mlxd.stderr.log",
        "stop_seconds": 45,
        "user": "ada",
    }
    return Description(**{**fields, **changes})


class Mac:
    """What a test sees of the machine; `state` is the fake launchd's, which takes faults too."""

    def __init__(self, root: Path, port: int) -> None:
        self.root, self.port = root, port
        self.home, self.account = root / "m", root / "u"
        self.launchd = root / "l"
        self.domain = f"gui/{os.getuid()}"
        for folder in (self.home, self.account, self.launchd, root / "bin"):
            folder.mkdir()
        fake = root / "bin" / "launchctl"
        fake.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {FAKES / "launchctl"} "$@"\n')
        fake.chmod(0o755)

    @property
    def environ(self) -> dict[str, str]:
        mine = {name: value for name, value in os.environ.items() if "MLXD" not in name}
        return {
            **mine,
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.account),
            "MLXD_HOME": str(self.home),
            "MLXD_SERVER__PORT": str(self.port),
            "FAKE_LAUNCHD": str(self.launchd),
            "FAKE_LAUNCHD_THROTTLE": "0.2",  # seconds; five would be most of what a test takes
        }

    def mlxctl(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )

    def launchctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.root / "bin" / "launchctl", *arguments],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )

    def status(self) -> dict:
        done = self.mlxctl("status", "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def findings(self) -> dict[str, dict[str, str]]:
        """What the doctor says, by what was checked."""
        found = json.loads(self.mlxctl("doctor", "--json").stdout)["findings"]
        return {finding["check"]: finding for finding in found}

    @property
    def plist(self) -> Path:
        (file,) = self.agents.glob("dev.mlxd.*.plist")
        return file

    @property
    def agents(self) -> Path:
        return self.account / "Library" / "LaunchAgents"

    @property
    def target(self) -> str:
        return f"{self.domain}/{self.plist.stem}"

    @property
    def jobs(self) -> dict[str, str]:
        return self.state().get("jobs", {})

    @property
    def process(self) -> int | None:
        """The process that launchd runs for the job."""
        found = re.search(r"pid = (\d+)", self.launchctl("print", self.target).stdout)
        return int(found[1]) if found else None

    def state(self) -> dict:
        file = self.launchd / "state.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def set(self, **faults: object) -> None:
        with (self.launchd / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (self.launchd / "state.json").write_text(json.dumps({**self.state(), **faults}))


Machine = TypeVar("Machine", bound=Mac)


@contextmanager
def mac(root: Path, port: int, kind: type[Machine] = Mac) -> Iterator[Machine]:
    """A machine of which nothing is left running afterwards."""
    machine = kind(root, port)
    try:
        yield machine
    finally:
        machine.set(lingers=0, bootout_waits=20)
        for target in list(machine.jobs):
            machine.launchctl("bootout", target)
        by_hand = lock.holder(machine.home / "run" / "mlxd.lock") is not None
        if by_hand or not machine.environ["MLXD_HOME"]:
            machine.mlxctl("stop")
