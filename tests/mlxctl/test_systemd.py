"""The daemon as systemd's service, with a real user manager in a mount namespace of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.hub import fake_hub
from tests.mlxctl.conftest import DEADLINE, command
from tests.support.daemon_process import wait_until

pytestmark = pytest.mark.slow

# Without this folder systemd takes the system for one that it has not booted.
MANAGER = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec systemd --user
"""

# What a process of the service may not do, and the error that it gets instead.
FORBIDDEN = {
    "mount": "EPERM",
    "new user namespace": "EPERM",
    "packet socket": "EAFNOSUPPORT",
    "real-time priority": "EPERM",
    "set-user-ID file": "EPERM",
    "set the clock": "EPERM",
    "trace": "EPERM",
}
PROBE = """
import ctypes, errno, json, os, socket, sys

libc = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

tries = {
    "mount": lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "new user namespace": lambda: call("unshare", 0x10000000),
    "packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    "real-time priority": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "set-user-ID file": lambda: os.chmod(__file__, 0o4755),
    "set the clock": lambda: call("adjtimex", bytes(256)),
    "trace": lambda: call("ptrace", 0, 0, 0, 0),
}
found = {}
for name, attempt in tries.items():
    try:
        attempt()
        found[name] = "done"
    except OSError as error:
        found[name] = errno.errorcode[error.errno]
json.dump(found, open(sys.argv[1], "w"))
"""


class Session:
    """A user's account on a machine with systemd."""

    def __init__(self, root: Path, port: int) -> None:
        self.port = port
        self.units = root / ".config" / "systemd" / "user"
        self.config = root / ".config" / "mlxd" / "config.toml"
        self.models = root / ".local" / "share" / "mlxd" / "models"
        self.socket = root / ".local" / "state" / "mlxd" / "run" / "mlxd.sock"
        runtime = root / "run"
        for folder in (self.config.parent, self.models, runtime):
            folder.mkdir(parents=True, mode=0o700)
        self.config.write_text(f"server.port = {port}\n")
        kept = ("PATH", "LANG", "VIRTUAL_ENV")
        self.environ = {name: os.environ[name] for name in kept if name in os.environ} | {
            "HOME": str(root),
            "XDG_RUNTIME_DIR": str(runtime),
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def mlxctl(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return self._run(command(*arguments), **environ)

    def systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(["systemctl", "--user", *arguments])

    def status(self) -> dict:
        return json.loads(self.mlxctl("status", "--json").stdout)

    def _run(self, words: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )


@pytest.fixture(scope="module")
def manager(tiny_model: Path) -> Iterator[Session]:
    if not all(map(shutil.which, ("systemd", "systemctl", "unshare"))) or os.geteuid() != 0:
        pytest.skip("needs systemd, unshare and root")
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        session = Session(Path(folder).resolve(), port)
        (session.models / "tiny").symlink_to(tiny_model)
        running = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", MANAGER],
            env=session.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        private = Path(session.environ["XDG_RUNTIME_DIR"]) / "systemd" / "private"
        wait_until(lambda: private.exists() or running.poll() is not None, "systemd runs")
        if running.poll() is not None:
            pytest.skip("systemd --user does not start here")
        try:
            yield session
        finally:
            session.systemctl("exit")
            running.wait(DEADLINE)


@pytest.fixture
def machine(manager: Session) -> Iterator[Session]:
    yield manager
    manager.config.write_text(f"server.port = {manager.port}\n")
    manager.mlxctl("uninstall")


def test_the_life_of_a_service(machine: Session) -> None:
    installed = machine.mlxctl("install")
    first = machine.status()
    file = machine.units / "mlxd.service"
    assert installed.stdout.splitlines() == [
        f"mlxd is installed: systemd starts it at login ({file})",
        f"mlxd has started (pid {first['pid']}): {machine.url}",
    ]
    service = first["service"]
    assert (service["manager"], service["label"]) == ("systemd", "mlxd.service")
    assert (service["pid"], service["loaded"], service["faults"]) == (first["pid"], True, [])
    assert machine.systemctl("is-enabled", "mlxd.service", "mlxd.socket").returncode == 0
    assert len(machine.mlxctl("run", "--model", "tiny", "--max-tokens", "5", "hi").stdout) == 6

    again = machine.mlxctl("install")
    assert again.stdout.startswith("mlxd is installed already")
    assert machine.status()["pid"] == first["pid"]

    upgraded = machine.mlxctl("install", MLXD_SERVER__DRAIN_TIMEOUT="7s")
    assert upgraded.stdout.startswith("mlxd is installed: ")
    assert "TimeoutStopSec=22\n" in file.read_text()
    assert machine.status()["service"]["faults"] == []  # by its own variables, not this shell's

    assert machine.mlxctl("disable").returncode == 0
    assert machine.status()["service"]["starts"] == "never: disabled"
    assert machine.mlxctl("enable").returncode == 0

    stopped = machine.mlxctl("stop")
    assert stopped.stdout.startswith("mlxd has stopped (pid ")
    assert machine.mlxctl("stop").returncode == 3
    with pytest.raises(httpx.ConnectError):
        httpx.get(machine.url)
    assert machine.mlxctl("start").returncode == 0

    assert machine.mlxctl("uninstall").stdout == f"mlxd is uninstalled ({file})\n"
    assert list(machine.units.glob("mlxd*")) == []


def test_on_demand_no_process_exists_until_someone_connects(machine: Session) -> None:
    machine.mlxctl("install", "--on-demand", MLXD_SERVER__IDLE_EXIT="0.3s")
    for _ in range(2):
        for verb in ("status", "version", "logs", "doctor"):
            machine.mlxctl(verb)
        shown = machine.mlxctl("status")
        assert shown.returncode == 3
        assert shown.stdout.startswith("mlxd is not running; the first connection starts it\n")
        assert machine.systemctl("show", "--value", "-p", "MainPID", "mlxd").stdout == "0\n"
        asked = subprocess.run(["curl", "-sf", f"{machine.url}/health"], capture_output=True)
        assert json.loads(asked.stdout)["status"] == "ok"
        wait_until(lambda: not machine.status()["running"], "it has ended by itself")


def test_500_requests_through_restarts_and_none_refused(machine: Session) -> None:
    machine.mlxctl("install")
    answers: list[int | str] = []
    paths = iter(["/v1/models"] * 500)  # what several threads take from one by one

    def ask(keep: int, local: bool) -> None:
        """Ask while there is something to ask, `keep` times on each connection."""
        while True:
            kind = httpx.HTTPTransport(uds=str(machine.socket)) if local else None
            with httpx.Client(base_url=machine.url, transport=kind, timeout=DEADLINE) as client:
                for _ in range(keep):
                    if (path := next(paths, None)) is None:
                        return
                    try:
                        answers.append(client.get(path).status_code)
                    except httpx.HTTPError as error:
                        answers.append(repr(error))

    clients = [
        threading.Thread(target=ask, args=args)
        for args in ((1, False), (1, False), (10, False), (1, True), (10, True))
    ]
    pids = {machine.status()["pid"]}
    for client in clients:
        client.start()
    for goal in (100, 250):
        wait_until(lambda goal=goal: len(answers) >= goal, f"{goal} are answered")
        restarted = machine.mlxctl("restart")
        assert restarted.returncode == 0, restarted.stderr
        pids.add(machine.status()["pid"])
    for client in clients:
        client.join()
    assert answers == [200] * 500
    assert len(pids) == 3


def test_a_hardened_service_does_all_that_it_should(machine: Session, tiny_model: Path) -> None:
    with fake_hub() as hub:
        hub.repos["acme/tiny"].commit(
            {each.name: each.read_bytes() for each in tiny_model.iterdir()}
        )
        with machine.config.open("a") as config:
            config.write(f"hub.endpoint = '{hub.url}'\n")
        machine.mlxctl("install")
        pulled = machine.mlxctl("pull", "acme/tiny")
        assert pulled.returncode == 0, pulled.stderr
    words = ("--max-tokens", "5", "once " * 300)
    answered = machine.mlxctl("run", "--model", "acme/tiny", *words)
    assert (answered.returncode, len(answered.stdout)) == (0, 6), answered.stderr
    status = machine.status()
    engines = [model["pid"] for model in status["models"] if model["pid"]]
    for pid in (status["pid"], *engines):
        facts = Path(f"/proc/{pid}/status").read_text().splitlines()
        assert {"NoNewPrivs:\t1", "Umask:\t0077", "Seccomp:\t2"} <= {*facts}
    assert len(engines) == 1

    def cached() -> int:
        return json.loads(machine.mlxctl("cache", "show", "--json").stdout)["size_bytes"]

    wait_until(cached, "the prompt is on the disk")
    log = Path(status["log"]).read_text()
    assert "POST /v1/chat/completions 200" in log
    assert "is not confined" not in log  # by the daemon itself
    assert machine.mlxctl("doctor").returncode == 0


def test_what_a_process_of_the_service_may_not_do(machine: Session, tmp_path: Path) -> None:
    machine.mlxctl("install")
    ours = ("Sockets=", "Exec", "Restart", "StandardError=")
    unit = (machine.units / "mlxd.service").read_text()
    kept = unit.partition("[Service]\n")[2].partition("\n[Install]")[0].splitlines()
    settings = "\n".join(line for line in kept if not line.startswith(ours))
    (tmp_path / "probe.py").write_text(PROBE)
    program = f"{sys.executable} {tmp_path}/probe.py {tmp_path}/found.json"
    for name, text in (("probe", settings), ("free", "")):
        unit = f"[Service]\nType=oneshot\nExecStart={program}\n{text}\n"
        (machine.units / f"{name}.service").write_text(unit)
    machine.systemctl("daemon-reload")
    found = {}
    for name in ("free", "probe"):
        assert machine.systemctl("start", name).returncode == 0
        found[name] = json.loads((tmp_path / "found.json").read_text())
        (machine.units / f"{name}.service").unlink()
    assert "done" in found["free"].values()  # in the same namespaces as the other
    assert found["probe"] == FORBIDDEN


def test_a_crash_is_started_again(machine: Session) -> None:
    machine.mlxctl("install", "--on-demand")
    assert httpx.get(f"{machine.url}/health", timeout=DEADLINE).status_code == 200
    os.kill(machine.status()["pid"], signal.SIGKILL)
    wait_until(lambda: not machine.status()["running"], "it is gone")
    assert machine.status()["service"]["last_exit"] == "signal 9"
    assert httpx.get(f"{machine.url}/health", timeout=DEADLINE).status_code == 200


def test_a_broken_configuration_is_not_tried_for_ever(machine: Session) -> None:
    machine.mlxctl("install", "--on-demand")
    machine.config.write_text("[server]\nprot = 1\n")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{machine.url}/health", timeout=DEADLINE)

    def last_exit() -> str:
        return machine.systemctl("show", "--value", "-p", "ExecMainStatus", "mlxd").stdout

    wait_until(lambda: last_exit() == "78\n", "it has given up")
    assert machine.systemctl("is-failed", "mlxd").returncode == 0
    machine.config.write_text(f"server.port = {machine.port}\n")
    assert machine.mlxctl("start").returncode == 0


def test_a_changed_unit_is_reported_and_replaced(machine: Session) -> None:
    machine.mlxctl("install")
    file = machine.units / "mlxd.service"
    file.write_text(file.read_text() + "\n# by hand\n")
    fault = f"{file} is out of date: mlxctl install"
    assert machine.status()["service"]["faults"] == [fault]
    started = machine.mlxctl("restart")
    assert (started.returncode, started.stderr) == (0, f"mlxctl: {fault}\n")
    machine.mlxctl("install")
    assert machine.status()["service"]["faults"] == []

    machine.mlxctl("stop")
    file.unlink()
    machine.systemctl("mask", "mlxd.service")
    assert machine.status()["service"]["faults"] == [fault]
    assert machine.mlxctl("install").returncode == 0
    assert machine.status()["service"]["faults"] == []


def test_a_daemon_that_mlxctl_started_gives_way(machine: Session) -> None:
    machine.mlxctl("start")
    before = machine.status()
    assert before["service"]["manager"] == "none"
    installed = machine.mlxctl("install")
    assert "from now on systemd starts it" in installed.stderr
    after = machine.status()
    assert after["pid"] not in (None, before["pid"])
    assert after["service"]["faults"] == []
