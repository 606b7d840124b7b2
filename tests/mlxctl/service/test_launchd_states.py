"""The states that a launchd job can be left in: each is one line, and the command in it helps.

The fake launchctl is asked from this process; a daemon runs only where one is needed.
"""

import os
import plistlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlxctl.commands.install import disable, enable, install, uninstall
from mlxctl.commands.service import restart, start, stop
from mlxctl.errors import CommandFailed
from mlxctl.service import choose, description, launchctl, launchd
from mlxctl.service.manager import Installer
from mlxd import config
from tests.support.daemon_process import wait_until
from tests.support.service_world import Mac, mac

pytestmark = pytest.mark.slow


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
    return [str(fault) for fault in service().describe().faults]


def edit(file: Path, **changes: object) -> None:
    file.write_bytes(plistlib.dumps({**plistlib.loads(file.read_bytes()), **changes}))


def configure(machine: Mac, drain: str) -> None:
    (machine.home / "config.toml").write_text(f'[server]\ndrain_timeout = "{drain}"\n')


def load(machine: Mac, **changes: object) -> None:
    """Edit the plist, and have launchd load that."""
    edit(machine.plist, **changes)
    machine.launchctl("bootout", machine.target)
    machine.launchctl("bootstrap", machine.domain, str(machine.plist))


@pytest.mark.parametrize("stopped", [False, True])
def test_status_runs_launchctl_twice(
    waiting: Mac, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    if stopped:
        run(stop)
    calls, once = [], launchctl.run
    monkeypatch.setattr(launchctl, "run", lambda *call: calls.append(call[0]) or once(*call))
    service().describe()
    assert calls == ["print", "print-disabled"]


def test_a_change_of_the_configuration_makes_the_plist_out_of_date(waiting: Mac) -> None:
    content = waiting.plist.read_bytes()
    configure(waiting, "7s")
    told = f"{waiting.plist} is out of date: mlxctl install"
    assert faults() == [told]
    assert run(start).stderr == run(restart).stderr == f"mlxctl: {told}\n"
    assert waiting.plist.read_bytes() == content
    assert "is installed: " in run(install, "--on-demand").stdout
    assert faults() == []
    assert plistlib.loads(waiting.plist.read_bytes())["ExitTimeOut"] == 22


def test_everyone_may_read_the_plist_but_nobody_else_the_daemons_folders(waiting: Mac) -> None:
    assert waiting.plist.stat().st_mode & 0o777 == 0o644
    assert [file.name for file in waiting.agents.iterdir()] == [waiting.plist.name]
    for folder in ("run", "logs"):
        assert (waiting.home / folder).stat().st_mode & 0o777 == 0o700


def test_a_plist_that_cannot_be_written_is_one_line(machine: Mac) -> None:
    (machine.account / "Library").write_text("a file where the folder belongs")
    assert "Library/LaunchAgents cannot be written: " in refusal(install)


def test_another_installation_makes_the_plist_out_of_date(
    machine: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(description.sys, "executable", str(machine.root / "venv" / "python"))
        run(install, "--on-demand")
    assert faults() == [f"{machine.plist} is out of date: mlxctl install"]
    run(install, "--on-demand")
    assert faults() == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"Nice": 5}, " is out of date"),
        ({"RunAtLoad": "yes"}, " is out of date"),
        ({"EnvironmentVariables": ["x"]}, " is out of date"),
        ({"LimitLoadToSessionType": 5}, " is out of date"),
        ({"UserName": ["x"]}, ": there is no user ['x'] on this machine"),
        ({"EnvironmentVariables": {"MLXD_SERVER__COLOUR": "red"}}, ": environment variable "),
    ],
)
def test_an_edited_plist_is_one_line(
    waiting: Mac, changes: dict[str, object], complaint: str
) -> None:
    edit(waiting.plist, **changes)
    (fault,) = faults()
    assert fault.startswith(f"{waiting.plist}{complaint}")
    assert fault.endswith(": mlxctl install")
    run(install, "--on-demand")
    assert faults() == []


def test_a_file_that_is_not_a_plist(waiting: Mac) -> None:
    waiting.plist.write_text("precious")
    assert faults() == [f"{waiting.plist} is not a property list: mlxctl install"]
    run(install, "--on-demand")
    assert faults() == []


def test_a_job_without_its_plist(waiting: Mac) -> None:
    file = waiting.plist
    file.unlink()
    assert faults() == [f"the service is loaded, but {file} is missing: mlxctl install"]
    run(install, "--on-demand")
    assert faults() == []
    file.unlink()
    assert run(uninstall).exit_code == 0
    assert waiting.jobs == {}


def test_a_disabled_service(waiting: Mac) -> None:
    run(disable)
    assert service().describe().starts == "never: disabled"
    told = "the service is disabled, so launchd does not start it: mlxctl enable"
    assert faults() == [told]
    run(stop)
    started = run(start)
    assert (started.exit_code, started.stderr) == (0, f"mlxctl: {told}\n")
    assert service().describe().starts == "never: disabled"
    run(enable)
    assert service().describe().starts == "on demand"
    run(disable)
    run(install, "--on-demand")
    assert faults() == []


def test_a_daemon_started_by_hand_beside_a_stopped_service(waiting: Mac) -> None:
    run(stop)
    command = [sys.executable, "-m", "mlxd", "--log-file", str(waiting.home / "hand.log")]
    with subprocess.Popen(command, env=waiting.environ) as by_hand:
        wait_until(lambda: service().pid() == by_hand.pid, "it runs")
        assert faults() == [f"mlxd (pid {by_hand.pid}) was not started by launchd: mlxctl restart"]
        assert run(restart).exit_code == 0
        assert by_hand.wait() == 0
    assert faults() == []


def test_a_launchctl_that_tells_neither_pid_nor_exit_status(
    waiting: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute = waiting.root / "mute" / "launchctl"
    mute.parent.mkdir()
    real = waiting.root / "bin" / "launchctl"
    mute.write_text(f'#!/bin/sh\nset -e\nfound=$({real} "$@")\ntest $1 = print || echo "$found"\n')
    mute.chmod(0o755)
    monkeypatch.setenv("PATH", f"{mute.parent}:{os.environ['PATH']}")
    assert run(start).exit_code == 0
    before = service().pid()
    found = service().describe()
    assert (found.loaded, found.pid, found.last_exit, found.faults) == (True, None, None, [])
    assert run(restart).exit_code == 0
    assert service().pid() not in (before, None)
    assert run(stop).exit_code == 0
    assert service().pid() is None


def test_a_daemon_that_fails_instead_of_answering_is_quoted(waiting: Mac) -> None:
    arguments = plistlib.loads(waiting.plist.read_bytes())["ProgramArguments"]
    load(waiting, ProgramArguments=[*arguments[:-1], "/proc/nope/mlxd.log"])  # of --log-file
    told = refusal(start)
    assert told.startswith("mlxd did not start: ")
    failure = told.removeprefix("mlxd did not start: ")
    assert "/proc/nope" in failure
    wait_until(lambda: service().describe().last_exit == f"1 ({failure})", "it has ended")


def test_a_program_that_ends_without_output_is_reported_by_its_exit_status(waiting: Mac) -> None:
    load(waiting, ProgramArguments=["/bin/sh", "-c", "sleep 0.5; exit 3"])
    assert refusal(start) == "mlxd did not start: last exit: 3. See: mlxctl logs"


def test_a_plist_that_others_may_write(waiting: Mac) -> None:
    run(stop)
    waiting.plist.chmod(0o666)
    told = refusal(start)
    assert told.startswith(f"launchctl bootstrap {waiting.domain} {waiting.plist} failed (122): ")
    assert told.endswith(". Run: mlxctl install")
    assert run(install, "--on-demand").exit_code == 0


def test_without_a_login_at_the_screen_install_moves_the_job(waiting: Mac) -> None:
    run(stop)
    waiting.set(no_gui=True)
    assert refusal(start).endswith("Run: mlxctl install")
    assert run(install, "--on-demand").exit_code == 0
    assert list(waiting.jobs) == [f"user/{os.getuid()}/{waiting.plist.stem}"]


def test_a_job_that_is_never_unloaded(waiting: Mac, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchd, "_LATE_SECONDS", -44.5)
    waiting.set(lingers=1000, bootout_waits=0)
    assert refusal(stop) == (
        f"launchd does not unload {waiting.target}. See: launchctl print {waiting.target}"
    )


def test_two_that_load_it_at_the_same_time(waiting: Mac, monkeypatch: pytest.MonkeyPatch) -> None:
    unseen = iter([None] * 4)  # as long as the first one has not loaded it
    once = launchctl.job
    monkeypatch.setattr(launchctl, "job", lambda target: next(unseen, once(target)))
    edit(waiting.plist, Nice=5)
    assert run(install, "--on-demand").exit_code == 0
    assert list(waiting.jobs) == [waiting.target]


def test_an_api_key_of_this_shell_is_not_carried_into_the_service(
    machine: Mac, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLXD_SERVER__API_KEY", "secret-of-ada")
    shown = run(install, "--print")
    assert "secret-of-ada" not in shown.output
    assert f"Write server.api_key into {machine.home / 'config.toml'}" in shown.stderr
    monkeypatch.setenv("MLXD_SERVER__HOST", "0.0.0.0")
    assert "server.host" in str(run(install, "--print").exception)
    (machine.home / "config.toml").write_text('[server]\napi_key = "secret-of-ada"\n')
    assert run(install, "--print").stderr == ""
