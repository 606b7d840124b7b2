"""`mlxctl doctor` beside launchd, the fake one: each state it may be in is broken for real."""

import os
import plistlib
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxctl.doctor import examine, facts, files, ports, service
from mlxctl.doctor.facts import look
from mlxctl.service import launchctl
from mlxd.control_api import ModelListing
from tests.support.daemon_process import running_daemon, wait_until
from tests.support.service_world import Mac, mac

pytestmark = pytest.mark.slow

Found = dict[str, tuple[str, str, str | None]]


CHECKS = (files.configuration, service.manager, service.daemon, ports.port)


@pytest.fixture
def machine(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mac]:
    """A Mac on which this process is at home too."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        with mac(Path(folder).resolve(), port) as machine:
            (machine.home / "models").mkdir()
            (machine.home / "models" / "tiny").symlink_to(tiny_model)
            machine.set(throttle=0)
            monkeypatch.setattr(facts, "_ANSWER_SECONDS", 1.0)
            monkeypatch.setattr(facts, "on_disk", lambda: (ModelListing(models=[]), []))
            for name, value in machine.environ.items():
                monkeypatch.setenv(name, value)
            yield machine


def findings() -> Found:
    """What is not good; without what takes a process of its own."""
    return {
        finding.check: (finding.state, finding.message, finding.fix)
        for finding in examine(look(), CHECKS)
        if finding.state != "ok"
    }


def warned(lines: list[str]) -> set[str]:
    """The checks that warn; the disk of the machine that runs the tests may be nearly full."""
    return {line.split()[1] for line in lines if line.startswith("warning ")}


def test_the_life_of_a_service(machine: Mac) -> None:
    machine.mlxctl("install")
    machine.mlxctl("start")
    done = machine.mlxctl("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) < 20
    assert max(map(len, lines)) <= 80
    assert warned(lines) <= {"disk"}
    starts = f"launchd ({machine.target}) starts it at login"
    assert any(line.split(None, 2)[1:] == ["service", starts] for line in lines)

    plist, well = machine.plist, machine.plist.read_bytes()
    machine.mlxctl("disable")
    never = "the service is disabled, so launchd does not start it"
    assert findings() == {"service": ("warning", never, "mlxctl enable")}
    machine.mlxctl("enable")

    older = plistlib.loads(well)
    del older["ProcessType"]
    plist.write_bytes(plistlib.dumps(older))
    drift = f"{plist} is out of date"
    assert findings() == {"service": ("warning", drift, "mlxctl install")}

    plist.write_bytes(well)
    assert findings() == {}

    pid = machine.status()["pid"]
    os.kill(pid, signal.SIGSTOP)
    found = findings()
    os.kill(pid, signal.SIGCONT)
    assert list(found) == ["daemon"]
    state, message, fix = found["daemon"]
    assert (state, fix) == ("error", "mlxctl restart")
    assert message.startswith(f"mlxd (pid {pid}) runs, but does not answer")

    machine.mlxctl("stop")
    assert findings() == {"daemon": ("warning", "mlxd is not running", "mlxctl start")}
    with socket.create_server(("127.0.0.1", machine.port)):
        assert findings()["port"][:1] == ("error",)

    with running_daemon(machine.home, HOME=str(machine.account)) as daemon:
        by_hand = f"mlxd (pid {daemon.process.pid}) was not started by launchd"
        assert findings()["service"] == ("warning", by_hand, "mlxctl restart")
        machine.launchctl("bootstrap", machine.domain, str(machine.plist))
        found = findings()
        assert found["daemon"][::2] == ("error", "mlxctl restart")  # launchd has its socket now


def test_a_daemon_that_sleeps_is_not_woken(machine: Mac) -> None:
    machine.mlxctl("install", "--on-demand")
    done = machine.mlxctl("doctor")
    assert done.returncode == 0, done.stdout
    assert "mlxd is not running; the first connection starts it" in done.stdout
    assert f"launchd listens on 127.0.0.1:{machine.port}" in done.stdout
    assert "models         1 available" in done.stdout
    assert warned(done.stdout.splitlines()) <= {"disk"}

    told = plistlib.loads(machine.plist.read_bytes())
    told["EnvironmentVariables"]["HF_TOKEN"] = "planted in the plist"
    machine.plist.write_bytes(plistlib.dumps(told))
    reported = machine.mlxctl("report").stdout
    assert "<string>dev.mlxd." in reported
    assert "planted" not in reported

    assert machine.process is None
    assert not (machine.home / "logs" / "mlxd.log").exists()


def test_why_it_does_not_run(machine: Mac) -> None:
    machine.mlxctl("install")
    machine.mlxctl("start")
    config = machine.home / "config.toml"

    machine.set(throttle=3600)  # what is killed now is not started again
    os.kill(machine.status()["pid"], signal.SIGKILL)
    wait_until(lambda: "last exit" in findings(), "it is gone")
    killed = "mlxd crashed or was killed (Killed: 9)"
    assert findings()["last exit"] == ("warning", killed, "mlxctl logs -n 20")

    config.write_text("[server]\nhost = '0.0.0.0'\n")
    machine.set(throttle=0)
    wait_until(lambda: findings()["last exit"][0] == "error", "the daemon has given up")
    found = findings()
    fault = (
        '"0.0.0.0" can be reached from other machines: set server.api_key too, '
        "make a key (mlxctl key create), or use 127.0.0.1"
    )
    assert found["configuration"] == ("error", f"server.host: {fault}", "mlxctl config validate")
    said = f"mlxd failed: server.host: {fault}"
    assert found["last exit"] == ("error", said, "mlxctl config validate")

    config.unlink()  # what it said is still the last thing that anybody knows
    assert "configuration" not in (found := findings())
    assert found["last exit"] == ("error", said, "mlxctl config validate")
    assert machine.mlxctl("start").returncode == 0
    assert "last exit" not in findings()


def test_a_launchctl_that_hangs(machine: Mac, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = machine.root / "hanging" / "launchctl"
    hanging.parent.mkdir()
    hanging.write_text("#!/bin/sh\nexec sleep 30\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("PATH", f"{hanging.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(launchctl, "_LOOK_SECONDS", 0.3)
    state, message, fix = findings()["service"]
    assert (state, fix) == ("error", None)
    assert message.startswith("its state is unknown: launchctl print ")
    assert message.endswith(" did not end within 0.3 s")
