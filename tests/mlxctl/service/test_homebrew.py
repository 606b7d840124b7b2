"""mlxctl with Homebrew's service, as `brew services` makes it.

The plist is the formula's; tests/packaging/test_formula.py sees to that.
"""

import json
import os
import plistlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxctl.service.homebrew import LABEL, HomebrewJob
from mlxctl.service.launchd import DAEMONS
from mlxd.config import Config
from tests.mlxctl.conftest import DEADLINE
from tests.support.daemon_process import wait_until
from tests.support.service_world import FAKES, Mac, mac

pytestmark = pytest.mark.slow

STANDARD = {"MLXD_HOME": ""}
SERVICE = f"Homebrew's service ({LABEL}) starts mlxd: "


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def script(file: Path, command: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    file.chmod(0o755)


class Brewed(Mac):
    """A Mac where `brew install mlxd` was done, on the standard home."""

    def __init__(self, root: Path, port: int) -> None:
        super().__init__(root, port)
        self.prefix = root / "b"
        script(self.prefix / "bin" / "brew", f"{sys.executable} {FAKES / 'brew'} {self.prefix}")
        script(self.prefix / "opt" / "mlxd" / "bin" / "mlxd", f"{sys.executable} -m mlxd")
        (self.prefix / "var" / "log").mkdir(parents=True)
        made = (FAKES / f"{LABEL}.plist").read_text()
        made = made.replace("/opt/homebrew", str(self.prefix))
        made = made.replace("/Users/ada/Library/Logs/mlxd", str(self.logs))
        service = plistlib.loads(made.encode())
        # As one's own services/mlxd.env would; HOME is this account's for launchd too.
        service["EnvironmentVariables"] |= {
            "HOME": str(self.account),
            "MLXD_SERVER__PORT": str(port),
            "PYTHONPATH": str(FAKES.parent.parent),
        }
        (self.prefix / "opt" / "mlxd" / f"{LABEL}.plist").write_bytes(plistlib.dumps(service))

    @property
    def environ(self) -> dict[str, str]:
        environ = super().environ | STANDARD
        kept = {name: value for name, value in environ.items() if not name.startswith("XDG")}
        path = f"{self.prefix / 'bin'}:{environ['PATH']}"
        return kept | {"PATH": path, "USER": os.environ.get("USER", "root")}

    @property
    def logs(self) -> Path:
        return self.account / ".local" / "state" / "mlxd" / "log"  # ~/Library/Logs/mlxd on a Mac

    @property
    def copied(self) -> Path:
        return self.agents / f"{LABEL}.plist"

    def brew(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["brew", *arguments],
            env=self.environ,
            executable=self.prefix / "bin" / "brew",
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )


@pytest.fixture
def machine() -> Iterator[Brewed]:
    with (
        tempfile.TemporaryDirectory(prefix="mlxd") as folder,
        mac(Path(folder).resolve(), free_port(), Brewed) as machine,
    ):
        yield machine


def test_the_life_of_homebrews_service(machine: Brewed) -> None:
    assert "Successfully started `mlxd`" in machine.brew("services", "start", "mlxd").stdout
    started = machine.mlxctl("start")
    first = machine.status()
    assert started.returncode == 0, started.stderr
    running = f"(pid {first['pid']}), as Homebrew's service: {first['url']}"
    assert started.stdout in (
        f"mlxd has started {running}\n",
        f"mlxd is running already {running}\n",
    )
    assert first["url"] == f"http://127.0.0.1:{machine.port}"
    service = first["service"]
    assert service["label"] == f"{machine.domain}/{LABEL}"
    assert service["file"] == str(machine.copied)
    assert (service["starts"], service["faults"]) == ("at login", [])
    shown = " ".join(machine.mlxctl("status").stdout.split())
    assert f"service Homebrew's service ({machine.domain}/{LABEL})" in shown
    assert "mlxd 0.1.0 serves" in machine.mlxctl("logs").stdout
    starts = f"Homebrew's service ({machine.domain}/{LABEL}) starts it at login"
    assert machine.findings()["service"]["message"] == starts

    for command, instead in (
        ("install", "to remove it, run: brew services stop mlxd"),
        ("uninstall", "to remove it, run: brew services stop mlxd"),
        ("disable", "to disable it, run: brew services stop mlxd"),
        ("enable", "to enable it, run: brew services start mlxd"),
    ):
        refused = machine.mlxctl(command)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == f"mlxctl: {SERVICE}{instead}\n"
    assert machine.status()["pid"] == first["pid"]

    restarted = machine.mlxctl("restart")
    second = machine.status()
    assert restarted.returncode == 0, restarted.stderr
    assert restarted.stdout.splitlines() == [
        f"mlxd has stopped (pid {first['pid']})",
        f"mlxd has started (pid {second['pid']}), as Homebrew's service: {second['url']}",
    ]

    stopped = machine.mlxctl("stop")
    assert stopped.stdout == f"mlxd has stopped (pid {second['pid']})\n"
    assert stopped.stderr.startswith("Homebrew's service starts it again at the next login")
    assert machine.jobs == {}
    assert machine.copied.exists()  # as after brew services stop --keep
    assert machine.status()["service"]["loaded"] is False
    assert machine.mlxctl("start").returncode == 0

    machine.brew("services", "stop", "mlxd")
    assert not machine.copied.exists()
    assert machine.status()["service"]["manager"] == "none"
    installed = machine.mlxctl("install")
    assert installed.stdout.startswith("mlxd is installed: launchd starts it at login")


def test_it_is_loaded_from_the_formula_by_brew_services_run(machine: Brewed) -> None:
    machine.brew("services", "run", "mlxd")
    machine.mlxctl("start")
    service = machine.status()["service"]
    assert (service["starts"], service["faults"]) == ("until the next login", [])
    assert machine.mlxctl("restart").returncode == 0
    assert machine.mlxctl("stop").returncode == 0
    assert machine.status()["service"]["manager"] == "none"


def test_what_keeps_it_from_starting_is_told(machine: Brewed) -> None:
    machine.set(throttle=0)
    machine.brew("services", "start", "mlxd")
    machine.mlxctl("start")
    machine.mlxctl("stop")
    machine.launchctl("disable", f"{machine.domain}/{LABEL}")
    told = "the service is disabled, so launchd does not start it: brew services start mlxd"
    started = machine.mlxctl("start")
    assert (started.returncode, started.stderr) == (0, f"mlxctl: {told}\n")
    assert machine.status()["service"]["faults"] == [told]
    machine.launchctl("enable", f"{machine.domain}/{LABEL}")
    machine.mlxctl("stop")

    config = machine.account / ".config" / "mlxd" / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("[server]\nhost = '0.0.0.0'\n")
    machine.launchctl("bootstrap", machine.domain, str(machine.copied))
    target = f"{machine.domain}/{LABEL}"
    wait_until(
        lambda: "last exit code = 0" in machine.launchctl("print", target).stdout,
        "the daemon has given up, and launchd leaves it alone",
    )
    assert machine.findings()["last exit"]["state"] == "error"
    config.unlink()
    assert "server.api_key" in machine.status()["service"]["last_exit"]


def test_homebrews_service_is_not_that_of_a_second_home(machine: Brewed) -> None:
    machine.brew("services", "start", "mlxd")
    home = {"MLXD_HOME": str(machine.home), "MLXD_SERVER__PORT": str(free_port())}
    installed = machine.mlxctl("install", **home)
    assert installed.returncode == 0, installed.stderr
    status = json.loads(machine.mlxctl("status", "--json", **home).stdout)
    assert (status["service"]["manager"], status["service"]["faults"]) == ("launchd", [])
    assert machine.mlxctl("uninstall", **home).returncode == 0


def test_over_ssh_the_job_may_be_in_the_users_own_domain(machine: Brewed) -> None:
    machine.brew("services", "start", "mlxd")
    machine.launchctl("bootout", f"{machine.domain}/{LABEL}")
    user = f"user/{os.getuid()}"
    machine.launchctl("bootstrap", user, str(machine.copied))
    machine.mlxctl("start")
    assert machine.status()["service"]["label"] == f"{user}/{LABEL}"
    machine.mlxctl("stop")
    machine.set(no_gui=True)
    assert machine.mlxctl("start").returncode == 0
    assert list(machine.jobs) == [f"{user}/{LABEL}"]


def test_a_service_that_sudo_started_is_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launchctl = tmp_path / "launchctl"
    launchctl.write_text('#!/bin/sh\ntest "$*" = "print system/homebrew.mxcl.mlxd" || exit 113\n')
    launchctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = HomebrewJob(Config(), LABEL, DAEMONS).describe()
    assert (found.manager, found.label) == ("Homebrew's service", "system/homebrew.mxcl.mlxd")
    assert list(map(str, found.faults)) == [
        "it runs as root, with a home of its own: sudo brew services stop mlxd"
    ]
