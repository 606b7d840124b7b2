"""The daemon as a launchd job, with the fake launchctl; its broken states are beside this file.

Only a Mac can show how the real launchctl words and times things: `mlxctl install`, `status`,
`restart` and `uninstall` have to be run there by hand.
"""

import fcntl
import os
import plistlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from mlxctl.commands.install import install, uninstall
from mlxctl.commands.service import stop
from mlxctl.service import choose, launchd
from tests.mlxctl.conftest import command
from tests.support.daemon_process import wait_until
from tests.support.service_world import Mac, mac

pytestmark = pytest.mark.slow


@pytest.fixture
def machine(tiny_model: Path) -> Iterator[Mac]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        with mac(Path(folder).resolve(), port) as machine:
            (machine.home / "models").mkdir()
            (machine.home / "models" / "tiny").symlink_to(tiny_model)
            yield machine


def test_the_life_of_a_service(machine: Mac) -> None:
    installed = machine.mlxctl("install")
    assert installed.returncode == 0, installed.stderr
    first = machine.status()
    assert installed.stdout.splitlines() == [
        f"mlxd is installed: launchd starts it at login ({machine.plist})",
        f"mlxd has started (pid {first['pid']}): {first['url']}",
    ]
    assert machine.mlxctl("start").stdout.startswith("mlxd is running already")
    assert first["url"] == f"http://127.0.0.1:{machine.port}"
    service = first["service"]
    assert service["manager"] == "launchd"
    assert service["label"] == machine.target
    assert service["file"] == str(machine.plist)
    assert (service["loaded"], service["starts"], service["faults"]) == (True, "at login", [])

    assert len(machine.mlxctl("run", "--max-tokens", "5", "hi").stdout) == 6
    assert "mlxd 0.1.0 serves" in machine.mlxctl("logs").stdout

    again = machine.mlxctl("install")
    assert again.stdout.startswith("mlxd is installed already, and up to date: launchd starts it")
    assert machine.status()["pid"] == first["pid"]

    restarted = machine.mlxctl("restart")
    second = machine.status()
    assert restarted.returncode == 0, restarted.stderr
    assert restarted.stdout.splitlines() == [
        f"mlxd has stopped (pid {first['pid']})",
        f"mlxd has started (pid {second['pid']}): {first['url']}",
    ]

    upgraded = machine.mlxctl("install", MLXD_SERVER__DRAIN_TIMEOUT="7s")
    assert upgraded.stdout.startswith("mlxd is installed: ")
    assert plistlib.loads(machine.plist.read_bytes())["ExitTimeOut"] == 22
    assert machine.mlxctl("start").returncode == 0
    assert machine.status()["pid"] != second["pid"]

    stopped = machine.mlxctl("stop")
    assert stopped.stdout.startswith("mlxd has stopped (pid ")
    assert machine.jobs == {}
    assert machine.mlxctl("stop").returncode == 3
    told = machine.mlxctl("status")
    assert told.returncode == 3
    assert told.stdout.startswith("mlxd is not running; start it with: mlxctl start\n")
    assert f"launchd ({machine.target}), stopped" in told.stdout

    assert machine.mlxctl("start").returncode == 0
    file = machine.plist
    (machine.home / "chat_history").write_text("what is love?")
    (machine.home / "cache" / "prompts").mkdir(parents=True, exist_ok=True)
    removed = machine.mlxctl("uninstall", "--purge")
    assert removed.returncode == 0, removed.stderr
    assert removed.stdout.splitlines()[0] == f"mlxd is uninstalled ({file})"
    assert not file.exists()
    assert not (machine.home / "logs").exists()
    assert not (machine.home / "chat_history").exists()
    assert not (machine.home / "cache").exists()
    assert (machine.home / "models" / "tiny").exists()
    assert machine.jobs == {}
    assert machine.mlxctl("uninstall").stdout == "mlxd is not installed as a service\n"


def test_the_environment_is_launchds_own(machine: Mac) -> None:
    machine.mlxctl("install")
    machine.mlxctl("start")
    pid = machine.status()["pid"]
    environ = Path(f"/proc/{pid}/environ")
    if not environ.exists():
        pytest.skip("needs /proc")
    found = dict(entry.partition("=")[::2] for entry in environ.read_text().split("\0") if entry)
    assert found["PATH"] == "/usr/bin:/bin:/usr/sbin:/sbin"
    assert found["XPC_SERVICE_NAME"] == machine.plist.stem
    assert "FAKE_LAUNCHD" not in found
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert "Umask:\t0077" in Path(f"/proc/{pid}/status").read_text()


def test_print_touches_nothing(machine: Mac) -> None:
    for flags in ([], ["--on-demand"], ["--system"]):
        done = machine.mlxctl("install", "--print", *flags)
        assert plistlib.loads(done.stdout.encode())["ProcessType"] == "Interactive"
    assert not machine.agents.exists()
    assert machine.state() == {}


def test_on_demand_no_process_exists_until_someone_connects(machine: Mac) -> None:
    done = machine.mlxctl("install", "--on-demand", MLXD_SERVER__IDLE_EXIT="0.3s")
    assert done.stdout.startswith("mlxd is installed: launchd starts it on demand")
    machine.set(throttle=0)
    for _ in range(2):
        status = machine.status()
        assert (status["running"], status["service"]["loaded"]) == (False, True)
        assert "the first connection starts it" in machine.mlxctl("status").stdout
        assert "mlxd is not running" in machine.mlxctl("version").stdout
        assert machine.process is None

        asked = httpx.get(f"http://127.0.0.1:{machine.port}/health", timeout=60)
        assert asked.status_code == 200
        wait_until(lambda: not machine.status()["running"], "it has ended by itself")
    assert machine.status()["service"]["last_exit"] == "0"
    assert machine.mlxctl("stop").stdout == (
        "mlxd was not running; it will no longer start on demand\n"
    )
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{machine.port}/health")


def test_a_restart_does_not_refuse_connections(machine: Mac) -> None:
    machine.mlxctl("install")
    machine.mlxctl("start")
    replies: list[object] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                url = f"http://127.0.0.1:{machine.port}/v1/models"
                replies.append(httpx.get(url, timeout=60).status_code)
            except httpx.HTTPError as error:
                replies.append(error)

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    restarted = machine.mlxctl("restart")
    done.set()
    for client in clients:
        client.join()
    assert restarted.returncode == 0, restarted.stderr
    assert set(replies) == {200}


def test_a_crash_is_started_again(machine: Mac) -> None:
    machine.set(throttle=0)
    machine.mlxctl("install")
    machine.mlxctl("start")
    pid = machine.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: machine.status().get("pid") not in (pid, None), "another one runs")
    assert machine.status()["service"]["last_exit"] == "Killed: 9"


def test_a_broken_configuration_is_told_and_not_tried_for_ever(machine: Mac) -> None:
    machine.set(throttle=0)
    machine.mlxctl("install")
    machine.mlxctl("start")
    machine.mlxctl("stop")
    (machine.home / "config.toml").write_text("[server]\nhost = '0.0.0.0'\n")
    assert "server.api_key" in machine.mlxctl("start").stderr  # mlxctl itself sees it
    machine.launchctl("bootstrap", machine.domain, str(machine.plist))

    said = machine.home / "logs" / "mlxd.stderr.log"

    def ended() -> bool:
        return "last exit code = 0" in machine.launchctl("print", machine.target).stdout

    wait_until(ended, "the daemon has given up")
    assert machine.process is None
    assert said.read_text().count("server.api_key") == 1
    (machine.home / "config.toml").unlink()
    shown = machine.status()["service"]["last_exit"]
    assert shown.startswith("0 (")
    assert "server.api_key" in shown


def test_transient_failures_of_a_bootstrap_are_tried_again(machine: Mac) -> None:
    machine.set(codes={"bootstrap": [5, 37, 5]})
    assert machine.mlxctl("install").returncode == 0
    assert list(machine.jobs) == [machine.target]


def test_a_bootstrap_that_keeps_failing_is_one_line(machine: Mac) -> None:
    machine.set(codes={"bootstrap": [5] * 50})
    done = machine.mlxctl("install")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    refused = f"launchctl bootstrap {machine.domain} {machine.plist} failed (5): "
    assert done.stderr.startswith(f"mlxctl: {refused}")
    assert done.stderr.endswith(". See: mlxctl doctor\n")


def test_a_connection_may_start_the_daemon_just_before_mlxctl_does(machine: Mac) -> None:
    machine.mlxctl("install", "--on-demand")
    machine.launchctl("kickstart", machine.target)
    machine.set(codes={"kickstart": [37]})
    started = machine.mlxctl("start")
    assert (started.returncode, started.stderr) == (0, "")


@pytest.mark.parametrize(
    ("verb", "codes", "said"),
    [
        ("start", {"kickstart": [113]}, "launchctl kickstart {target} failed (113): "),
        ("enable", {"enable": [1]}, "launchctl enable {target} failed (1): "),
        ("disable", {"disable": [125]}, "launchctl disable {target} failed (125): "),
        ("stop", {"bootout": [1]}, "launchctl bootout {target} failed (1): "),
    ],
)
def test_what_launchctl_refuses_is_one_line(
    machine: Mac, verb: str, codes: dict[str, list[int]], said: str
) -> None:
    machine.mlxctl("install", "--on-demand")
    machine.set(codes=codes)
    done = machine.mlxctl(verb)
    assert done.returncode == 1
    assert done.stderr.startswith(f"mlxctl: {said.format(target=machine.target)}")
    assert done.stderr.count("\n") == 1


def test_a_bootout_that_takes_seconds_is_waited_for(machine: Mac) -> None:
    machine.mlxctl("install")
    machine.mlxctl("start")
    machine.set(bootout_waits=0.1, lingers=3)
    stopped = machine.mlxctl("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert "waiting for launchd to unload" in stopped.stderr
    assert machine.jobs == {}
    assert machine.mlxctl("start").returncode == 0


def test_without_a_login_at_the_screen_the_users_own_domain_is_taken(machine: Mac) -> None:
    machine.set(no_gui=True)
    installed = machine.mlxctl("install")
    assert installed.returncode == 0, installed.stderr
    assert list(machine.jobs) == [f"user/{os.getuid()}/{machine.plist.stem}"]
    assert plistlib.loads(machine.plist.read_bytes())["LimitLoadToSessionType"] == "Background"
    machine.mlxctl("start")
    status = machine.status()
    assert status["service"]["label"].startswith("user/")
    assert status["service"]["faults"] == []

    machine.set(no_gui=False)  # a login at the screen leaves the job where it is
    assert machine.status()["service"]["label"].startswith("user/")
    assert machine.mlxctl("restart").returncode == 0
    assert machine.mlxctl("install").returncode == 0
    assert list(machine.jobs) == [machine.target]


def test_install_replaces_a_daemon_that_mlxctl_started(machine: Mac) -> None:
    machine.mlxctl("start")
    before = machine.status()
    assert before["service"]["manager"] == "none"
    installed = machine.mlxctl("install")
    assert installed.returncode == 0, installed.stderr
    assert "from now on launchd starts it" in installed.stderr
    machine.mlxctl("start")
    after = machine.status()
    assert after["pid"] != before["pid"]
    assert after["service"]["faults"] == []


def test_stop_lets_a_running_answer_finish(machine: Mac) -> None:
    machine.mlxctl("install", MLXD_SERVER__DRAIN_TIMEOUT="20s")
    machine.mlxctl("start")
    with subprocess.Popen(
        command("run", "--max-tokens", "500", "hi"),
        env=machine.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as asking:
        first = asking.stdout.read(1)
        assert machine.mlxctl("stop").returncode == 0
        assert len(first + asking.stdout.read()) == 501


def test_status_says_that_the_daemon_is_starting(machine: Mac) -> None:
    machine.mlxctl("install", "--on-demand")
    lock = machine.home / "run" / "mlxd.lock"
    with lock.open("w") as held:  # the daemon comes no further than this
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("x")
        held.flush()
        machine.launchctl("kickstart", machine.target)
        shown = machine.mlxctl("status").stdout
    assert shown.startswith("mlxd is starting (pid ")


def test_a_start_that_fails_says_why_at_once(machine: Mac) -> None:
    machine.mlxctl("install", "--on-demand")
    machine.mlxctl("stop")
    broken = plistlib.loads(machine.plist.read_bytes())
    broken["ProgramArguments"][-1] = "/proc/nope/mlxd.log"  # of --log-file
    broken["RunAtLoad"] = True
    machine.plist.write_bytes(plistlib.dumps(broken))
    done = machine.mlxctl("start")
    assert done.returncode == 1
    assert done.stderr.startswith("mlxctl: mlxd did not start: ")
    assert "/proc/nope" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs for the whole machine")
def test_a_service_of_the_whole_machine(machine: Mac, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchd, "DAEMONS", machine.root / "LaunchDaemons")
    for name in [name for name in os.environ if name.startswith("MLXD_")]:
        monkeypatch.delenv(name)
    for name, value in machine.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SUDO_USER", "nobody")
    nobody = pwd.getpwnam("nobody")
    machine.set(throttle=0)
    file = machine.root / "LaunchDaemons" / f"{choose.label()}.plist"
    file.parent.mkdir()
    shutil.chown(file.parent, group=1)
    file.parent.chmod(0o2755)  # new files get the folder's group, as always on a Mac

    made = plistlib.loads(CliRunner().invoke(install, ["--system", "--print"]).stdout.encode())
    assert made["UserName"] == "nobody"
    assert made["Sockets"]["local"]["SockPathOwner"] == nobody.pw_uid
    assert not file.exists()

    shutil.rmtree(machine.home)
    done = CliRunner().invoke(install, ["--system"], catch_exceptions=False)
    assert done.stdout.startswith(f"mlxd is installed: launchd starts it at boot ({file})")
    assert (file.stat().st_uid, file.stat().st_gid) == (0, 0)
    assert file.stat().st_mode & 0o777 == 0o644
    assert machine.home.stat().st_uid == nobody.pw_uid
    assert (machine.home / "run" / "mlxd.sock").stat().st_uid == nobody.pw_uid
    assert list(machine.jobs) == [f"system/{choose.label()}"]

    monkeypatch.setattr(os, "geteuid", lambda: 501)
    for verb_of, verb in ((install, "install --system"), (stop, "stop"), (uninstall, "uninstall")):
        flags = ["--system"] if verb_of is install else []
        refused = CliRunner().invoke(verb_of, flags).exception
        variables = f"HOME={machine.account} MLXD_HOME={machine.home} "
        variables += f"MLXD_SERVER__PORT={machine.port}"
        again = f"managing a system-wide service requires root. Run: sudo {{}} mlxctl {verb}"
        given = refused.message.partition("sudo ")[2].partition(" mlxctl")[0]
        assert refused.message == again.format(given)
        assert sorted(given.split()) == variables.split()
    monkeypatch.undo()
