"""`mlxctl doctor` and `mlxctl report`, with a real daemon and without one."""

import json
import os
import re
from pathlib import Path

import pytest

from mlxctl.commands.doctor import lines
from mlxctl.doctor.finding import error, ok
from tests.mlxctl.conftest import Run
from tests.support.daemon_process import running_daemon

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def findings(mlxctl: Run, status: int = 0) -> dict[str, dict[str, str]]:
    done = mlxctl("doctor", "--json")
    assert done.returncode == status, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] is (status == 0)
    return {finding["check"]: finding for finding in found["findings"]}


def test_a_daemon_that_is_well_then_killed(home: Path, mlxctl: Run) -> None:
    (home / "models" / "broken").mkdir(parents=True)
    (home / "models" / "broken" / "config.json").write_text("{}")
    log = home / "logs" / "mlxd.log"
    with running_daemon(home, "--log-file", str(log)) as daemon:
        found = findings(mlxctl)
        assert found["daemon"]["message"].startswith("mlxd ")
        assert {found[check]["state"] for check in ("daemon", "port", "mlx")} == {"ok"}
        assert found["models"]["state"] == "warning"
        daemon.process.kill()
        daemon.process.wait()
    found = findings(mlxctl, status=1)
    assert found["daemon"]["fix"] == "mlxctl start"
    assert (found["last exit"]["state"], found["last exit"]["fix"]) == (
        "error",
        "mlxctl logs -n 20",
    )


def test_for_a_person(home: Path, mlxctl: Run) -> None:
    (home / "config.toml").write_text("server.prot = 1\nlog.keep = 0")
    done = mlxctl("doctor")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "error    configuration  " in done.stdout
    assert "fix: mlxctl config validate" in done.stdout
    assert re.search(r"2 errors, [12] warnings?$", done.stdout)  # the disk may be nearly full


def test_long_lines_go_on_below_and_commands_do_not() -> None:
    long = error("port", "127.0.0.1:8080 is taken " + "by another program " * 5, "mlxctl " * 20)
    first, *more, fix = lines([long, ok("disk", "50 GB")], columns=60)[:-1]
    assert first.startswith("error    port  127.0.0.1:8080")
    assert {line[:15] for line in more} == {" " * 15}
    assert max(map(len, [first, *more])) <= 60
    assert fix.strip() == f"fix: {'mlxctl ' * 20}".strip()
    assert len(lines([long])) == 2  # in a pipe one line is one finding


PLANTED = {
    "MLXD_SERVER__API_KEY": "planted-by-environment",
    "HF_TOKEN": "planted-as-token",
    "HTTPS_PROXY": "http://ada:planted-in-url@proxy.corp.example:3128",
    "MLXD_SERVER__ALLOWED_HOSTS": "planted-name.example",
    "USER": "adalovelace",
}


def test_a_report_tells_all_but_secrets(home: Path, mlxctl: Run, tmp_path: Path) -> None:
    (home / "config.toml").write_text(
        'server.api_key = "planted-in-config"\nserver.allowed_hosts = ["planted-host.example"]\n'
        '[model.x]\nchat_template = "planted-words"'
    )
    (home / "logs").mkdir()
    (home / "logs" / "mlxd.log").write_text(
        f"a line with planted-in-config and {home}/models\n"
        "planted-by-environment and planted-as-token\n"
        "GET https://ada:planted-userinfo@hub.example/x\n"
        "hf_plantedplantedplanted\n"
        "Authorization: Bearer planted-bearer\n"
        "203.0.113.7 asked for /Volumes/adalovelace/model\n"
    )
    (home / "logs" / "mlxd.stderr.log").write_text("api_key='planted beside the log'\n")
    (home / "models" / "broken").mkdir(parents=True)
    (home / "models" / "broken" / "config.json").write_text("{}")

    file = tmp_path / "report.txt"
    done = mlxctl("report", file, HOME=str(home), **PLANTED)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"wrote {file}: read it before you send it\n"
    assert os.stat(file).st_mode & 0o777 == 0o600
    text = file.read_text()
    private = ("planted", "corp.example", str(home), "adalovelace", "203.0.113.7")
    assert [line for line in text.splitlines() if any(part in line for part in private)] == []

    assert "a line with *** and ~/models" in text
    assert "ADDRESS asked for /Volumes/USER/model" in text
    assert "server.api_key = ***  # MLXD_SERVER__API_KEY" in text
    assert "server.port = 0  # MLXD_SERVER__PORT" in text
    assert "HTTPS_PROXY=…" in text
    assert "broken is broken: its config.json has no model_type" in text
    assert '"manager": "none"' in text
    again = mlxctl("report", file)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)


def test_a_report_of_a_configuration_at_fault(home: Path, mlxctl: Run) -> None:
    (home / "config.toml").write_text('server.api_key = "planted-here"\nserver.prot = 1')
    (home / "logs").mkdir()
    (home / "logs" / "mlxd.log").write_text("planted-here\n")
    done = mlxctl("report")
    assert done.returncode == 0, done.stderr
    assert "server.prot: unknown key" in done.stdout
    assert "planted" not in done.stdout


def test_a_report_on_standard_output(home: Path, mlxctl: Run) -> None:
    done = mlxctl("report")
    assert done.returncode == 0
    assert "there is no log" in done.stdout
    assert done.stderr == "mlxctl: read it before you send it\n"
