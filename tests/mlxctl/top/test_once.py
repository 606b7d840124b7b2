"""`mlxctl top` for scripts: `--json`, `--once`, and where standard output is no terminal."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from mlxctl.top.overview import Overview
from mlxd.activity import Activity, History, ServedRequest
from tests.mlxctl.conftest import Run, imported_by
from tests.support.fake_daemon import FakeDaemon
from tests.support.overviews import NOT_RUNNING, answer_top, overview

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


@pytest.mark.parametrize("arguments", [["top"], ["top", "--once"]])
def test_a_pipe_gets_it_once(daemon: FakeDaemon, mlxctl: Run, arguments: list[str]) -> None:
    answer_top(daemon)
    done = mlxctl(*arguments, COLUMNS="80", FORCE_COLOR="", TERM="xterm-256color")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == (
        "mlxd 0.1.0  for 3 h 12 min  http://127.0.0.1:8080                 last 2 minutes"
    )
    assert "acme/smol       ███████░░░░░░░░░   44%   52 MB  117 MB  7.7 MB   8.4 s" in lines
    assert lines[-1] == "requests 1,204  failed 3  tokens generated 1,234,567"
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("arguments", [["--json"], ["--once", "--json"]])
def test_json_is_what_the_daemon_says(
    daemon: FakeDaemon, mlxctl: Run, arguments: list[str]
) -> None:
    answer_top(daemon)
    shown = json.loads(mlxctl("top", *arguments).stdout)
    assert msgspec.convert(shown, Overview) == overview()


@pytest.mark.parametrize("arguments", [["--json"], ["--once"], []])
def test_without_a_daemon_the_status_is_3(home: Path, mlxctl: Run, arguments: list[str]) -> None:
    done = mlxctl("top", *arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"mlxctl: {NOT_RUNNING}\n"


def test_a_daemon_that_a_connection_would_start_is_not_woken(
    listener: FakeDaemon, mlxctl: Run
) -> None:
    answer_top(listener)
    assert mlxctl("top", "--once").returncode == 3


def test_scripts_do_not_load_what_draws(home: Path) -> None:
    assert "mlxctl.top.overview" in (modules := imported_by("top", "--json"))
    assert "rich" not in modules


@pytest.mark.parametrize("kind", [Overview, Activity, History, ServedRequest])
def test_the_fields_are_documented(kind: type[msgspec.Struct]) -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    section = text[text.index("## What the daemon does now") :].split("\n## ")[0]
    documented = set(re.findall(r"`(\w+)`", section))
    assert {field.name for field in msgspec.structs.fields(kind)} <= documented
