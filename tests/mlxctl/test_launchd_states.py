"""The states that a launchd job can be left in: each is named in one line, and mended as told.

The fake launchctl is asked from this process; a daemon runs only where one is needed.
"""

import contextlib
import os
import plistlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from mlxctl.commands.install import disable, install
from mlxctl.commands.service import restart, start, stop
from mlxctl.errors import CommandFailed
from mlxctl.service import choose, description
from mlxctl.service.launchctl import Launchctl
from mlxctl.service.loader import Loader
from mlxctl.service.manager import Installer
from mlxctl.service.plist_file import PlistFile
from mlxd import config
from mlxd.errors import StartupError
from mlxd.run_record import recorded
from tests.support.daemon_process import wait_until
from tests.support.service_world import Mac, mac


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mac]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        with mac(Path(folder).resolve(), port) as machine:
            for name, value in machine.environ.items():
                monkeypatch.setenv(name, value)
            yield machine


@pytest.fixture
def waiting(machine: Mac) -> Mac:
    """A machine where the service waits for a connection."""
    assert run(install, "--on-demand").exit_code == 0
    return machine


def run(command, *flags: str) -> Result:
    return CliRunner().invoke(command, flags)


def refusal(command, *flags: str) -> str:
    error = run(command, *flags).exception
    assert isinstance(error, CommandFailed)
    assert "\n" not in error.message
    return error.message


def service() -> Installer:
    found = choose.installed(config.load())
    assert found is not None
    return found


def faults() -> list[str]:
    return service().describe().faults


def edit(file: Path, **changes: object) -> None:
    file.write_bytes(plistlib.dumps({**plistlib.loads(file.read_bytes()), **changes}))


def configure(machine: Mac, drain: str) -> None:
    (machine.home / "config.toml").write_text(f'[server]\ndrain_timeout = "{drain}"\n')


@contextlib.contextmanager
def asking(machine: Mac) -> Iterator[None]:
    """Have somebody ask the daemon all the time, and not mind being refused."""
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{machine.port}/health", timeout=30)

    client = threading.Thread(target=ask)
    client.start()
    try:
        yield
    finally:
        done.set()
        client.join()


def test_restart_and_start_bring_in_what_an_upgrade_changed(machine: Mac) -> None:
    assert run(install).exit_code == 0
    pid = service().pid()
    configure(machine, "7s")
    older = f"{machine.plist} is of an older mlxctl or configuration: mlxctl restart"
    assert faults() == [older]
    assert older in run(start).stderr  # which ends no daemon
    assert service().pid() == pid

    machine.set(throttle=0)
    with asking(machine):  # which has launchd start what it holds as soon as that has ended
        restarted = run(restart)
    assert restarted.exit_code == 0
    renewed = f"{machine.plist} was of an older mlxctl or configuration, and is renewed"
    assert renewed in restarted.stderr.splitlines()
    assert "exit timeout = 22" in machine.launchctl("print", machine.target).stdout
    assert faults() == []

    run(stop)
    configure(machine, "8s")
    started = run(start)
    assert started.stderr.splitlines() == [renewed]
    assert plistlib.loads(machine.plist.read_bytes())["ExitTimeOut"] == 23
    assert "renewed" not in run(restart).stderr


def test_start_renews_what_waits_for_a_connection(waiting: Mac) -> None:
    configure(waiting, "7s")
    assert "renewed" in run(start).stderr
    assert "exit timeout = 22" in waiting.launchctl("print", waiting.target).stdout


def test_what_somebody_has_edited_is_told_and_left_alone(waiting: Mac) -> None:
    edit(waiting.plist, Nice=5, ExitTimeOut=99)
    content = waiting.plist.read_bytes()
    told = f"{waiting.plist} is not what this mlxctl would write: mlxctl install"
    assert faults() == [told]
    assert run(restart).stderr.splitlines() == [f"mlxctl: {told}"]
    assert waiting.plist.read_bytes() == content
    run(install, "--on-demand")
    assert faults() == []


def test_another_installation_is_named_and_replaced_only_once_it_is_gone(
    machine: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = machine.root / "venv" / "mlxd"
    theirs.parent.mkdir()
    theirs.write_text(f'#!/bin/sh\nexec {sys.executable} -m mlxd "$@"\n')
    theirs.chmod(0o755)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(description.sys, "executable", str(theirs.with_name("python")))
        run(install, "--on-demand")
    ours = description.program()[0]
    assert faults() == [
        f"{machine.plist} starts {theirs}, and this mlxctl belongs to {ours}: mlxctl install"
    ]
    configure(machine, "7s")
    assert "renewed" not in run(start).stderr
    run(stop)
    theirs.unlink()
    assert faults() == [f"{machine.plist} starts {theirs}, which is gone: mlxctl install"]
    assert "renewed" in run(start).stderr
    assert faults() == []


def test_launchd_holds_an_older_one_than_the_disk(waiting: Mac) -> None:
    right = waiting.plist.read_bytes()
    edit(waiting.plist, ProgramArguments=["/bin/echo", "older"])
    waiting.launchctl("bootout", waiting.target)
    waiting.launchctl("bootstrap", waiting.domain, str(waiting.plist))
    waiting.plist.write_bytes(right)
    assert faults() == [f"launchd still holds what {waiting.plist} said before: mlxctl restart"]
    assert run(restart).exit_code == 0
    assert faults() == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"RunAtLoad": "yes"}, "RunAtLoad is str and has to be bool"),
        ({"EnvironmentVariables": ["x"]}, "EnvironmentVariables is no table"),
        (
            {"EnvironmentVariables": {"MLXD_SERVER__COLOUR": "red"}},
            "environment variable MLXD_SERVER__COLOUR: ",
        ),
    ],
)
def test_a_plist_that_launchd_or_mlxd_would_refuse_is_told(
    waiting: Mac, changes: dict[str, object], complaint: str
) -> None:
    edit(waiting.plist, **changes)
    (fault,) = faults()
    assert fault.startswith(f"{waiting.plist}: {complaint}")
    assert fault.endswith(": mlxctl install")


def test_start_leaves_disabled_what_is_disabled(waiting: Mac) -> None:
    run(stop)
    run(disable)
    started = run(start)
    assert started.exit_code == 0
    assert started.stderr == "mlxctl: launchd is told never to start it: mlxctl enable\n"
    assert service().describe().starts == "never: disabled"


def test_a_daemon_started_by_hand_beside_a_stopped_service(waiting: Mac) -> None:
    run(stop)
    command = [sys.executable, "-m", "mlxd", "--log-file", str(waiting.home / "hand.log")]
    with subprocess.Popen(command, env=waiting.environ) as by_hand:
        wait_until(lambda: service().pid() == by_hand.pid, "it runs")
        assert faults() == [f"pid {by_hand.pid} was started by somebody else: mlxctl restart"]
        assert run(restart).exit_code == 0
        assert by_hand.wait() == 0
    assert faults() == []


def test_a_job_that_ends_as_soon_as_it_starts(waiting: Mac) -> None:
    edit(waiting.plist, ProgramArguments=["/bin/false"], KeepAlive={"SuccessfulExit": False})
    waiting.launchctl("bootout", waiting.target)
    waiting.launchctl("bootstrap", waiting.domain, str(waiting.plist))

    def is_told() -> bool:
        return any(
            re.fullmatch(r"it has ended \d+ times, and soon: mlxctl logs", x) for x in faults()
        )

    wait_until(is_told, "it has ended twice")


def test_an_earlier_failure_does_not_explain_a_later_one(waiting: Mac) -> None:
    with contextlib.suppress(StartupError), recorded(waiting.home / "run" / "mlxd.run.json"):
        raise StartupError("port taken")
    edit(waiting.plist, ProgramArguments=["/bin/false"])
    waiting.launchctl("bootout", waiting.target)
    waiting.launchctl("bootstrap", waiting.domain, str(waiting.plist))
    assert refusal(start) == "mlxd did not start (exit status 1); see: mlxctl logs"


def test_a_login_at_the_screen_comes_and_goes(waiting: Mac) -> None:
    run(stop)
    waiting.set(no_gui=True)
    assert "renewed" in run(start).stderr
    assert list(waiting.jobs) == [f"user/{os.getuid()}/{waiting.plist.stem}"]
    assert faults() == []
    waiting.set(no_gui=False)
    assert faults() == []
    run(restart)
    assert list(waiting.jobs) == [waiting.target]


def test_a_plist_that_others_may_write_is_told_and_mended(waiting: Mac) -> None:
    run(stop)
    waiting.plist.chmod(0o666)
    assert refusal(start).endswith(
        "failed (122): Bootstrap failed: 122: Path had bad ownership/permissions; mlxctl install"
    )
    assert run(install, "--on-demand").exit_code == 0


def test_a_start_meets_a_stop_that_has_just_begun(waiting: Mac) -> None:
    waiting.set(lingers=1)
    stopping = threading.Thread(target=waiting.launchctl, args=("bootout", waiting.target))
    stopping.start()
    wait_until(lambda: waiting.jobs[waiting.target]["leaving"], "it is leaving")
    assert run(start).exit_code == 0
    stopping.join()
    assert list(waiting.jobs) == [waiting.target]


@pytest.fixture
def loader(waiting: Mac) -> Loader:
    """What loads the job, and gives up at once."""
    control = Launchctl(str(waiting.root / "bin" / "launchctl"))
    file = PlistFile(waiting.plist)
    return Loader(control, waiting.plist.stem, file, system=False, stop_seconds=-4.5)


def test_a_job_that_is_never_unloaded(waiting: Mac, loader: Loader) -> None:
    waiting.set(lingers=1000, bootout_waits=0)
    with pytest.raises(CommandFailed, match=f"launchctl print {waiting.target}"):
        loader.unload(waiting.target, lambda _: None)


def test_somebody_else_loads_it_at_the_same_time(waiting: Mac, loader: Loader) -> None:
    before = loader.find().job
    began = time.monotonic()
    loader.load(lambda _: None, lambda _: None)
    assert loader.find().job == before
    assert time.monotonic() - began < 10


def test_an_api_key_of_this_shell_is_said_not_to_be_carried(
    machine: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLXD_SERVER__API_KEY", "secret-of-ada")
    shown = run(install, "--print")
    assert "secret-of-ada" not in shown.output
    assert f"write server.api_key into {machine.home / 'config.toml'}" in shown.stderr
    monkeypatch.setenv("MLXD_SERVER__HOST", "0.0.0.0")
    assert "server.host" in str(run(install, "--print").exception)
    (machine.home / "config.toml").write_text('[server]\napi_key = "secret-of-ada"\n')
    assert run(install, "--print").stderr == ""
