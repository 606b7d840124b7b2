"""`mlxctl doctor` and `mlxctl report`, with a real daemon and without one."""

import json
import os
from pathlib import Path

import pytest

from tests.daemon_process import running_daemon
from tests.mlxctl.conftest import Run
from tests.mlxctl.test_cli import imported_by


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
        assert {found[check]["state"] for check in ("daemon", "port", "mlx", "disk")} == {"good"}
        assert found["models"]["state"] == "warning"
        daemon.process.kill()
        daemon.process.wait()
    found = findings(mlxctl, status=1)
    assert found["daemon"]["mend"] == "mlxctl start"
    assert (found["last exit"]["state"], found["last exit"]["mend"]) == ("bad", "mlxctl logs -n 20")


def test_for_a_person(home: Path, mlxctl: Run) -> None:
    (home / "config.toml").write_text("server.prot = 1\nlog.keep = 0")
    done = mlxctl("doctor")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "bad      configuration  " in done.stdout
    assert "mend: mlxctl config validate" in done.stdout
    assert done.stdout.endswith("2 bad, 1 warning\n")


def test_no_mlx_in_mlxctl(home: Path) -> None:
    assert not imported_by("doctor") & {"mlx", "mlx_lm", "transformers", "huggingface_hub"}


def test_a_report_tells_all_but_secrets(home: Path, mlxctl: Run, tmp_path: Path) -> None:
    key = "a-long-secret-key"
    (home / "config.toml").write_text(f'server.api_key = "{key}"\n[model.x]\nchat_template = "Ada"')
    (home / "logs").mkdir()
    token, url = "hf_" + "x" * 34, "https://ada:pa55@hub.example/x"
    (home / "logs" / "mlxd.log").write_text(
        f"a line with {key} and {home}/models\n{token} sk-{'y' * 20} {url} of lovelace\n"
    )
    done = mlxctl("report", tmp_path / "report.txt", HOME=str(home), LOGNAME="lovelace")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.txt").read_text()
    assert os.stat(tmp_path / "report.txt").st_mode & 0o777 == 0o600
    assert key not in text
    assert "Ada" not in text
    assert str(home) not in text
    assert "a line with *** and ~/models" in text
    assert "*** *** https://***@hub.example/x of USER" in text
    assert "server.port = 0  # MLXD_SERVER__PORT" in text
    assert "## doctor" in text
    again = mlxctl("report", tmp_path / "report.txt")
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)


def test_a_report_on_standard_output(home: Path, mlxctl: Run) -> None:
    done = mlxctl("report")
    assert done.returncode == 0
    assert "there is no log" in done.stdout
