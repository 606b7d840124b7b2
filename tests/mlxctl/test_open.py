"""`mlxctl open`: the page in a browser, with a token that lets it change something."""

from pathlib import Path

import pytest

from tests.mlxctl.conftest import Run
from tests.support.fake_daemon import FakeDaemon
from tests.support.statuses import RUNNING, STATUS

ADDRESS = "http://127.0.0.1:8080/#token=a-token"


@pytest.fixture
def daemon(daemon: FakeDaemon) -> FakeDaemon:
    daemon.answers(STATUS, RUNNING)
    daemon.answers(("POST", "/control/v1/page_token"), {"token": "a-token"})
    return daemon


def test_it_opens_the_page_and_keeps_the_token_to_itself(
    daemon: FakeDaemon, mlxctl: Run, tmp_path: Path
) -> None:
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    program.chmod(0o755)
    said = mlxctl("open", BROWSER=str(program))
    assert (said.stdout, said.stderr) == ("opened http://127.0.0.1:8080/\n", "")
    assert (tmp_path / "opened").read_text() == f"{ADDRESS}\n"


def test_it_prints_the_address_where_there_is_no_browser(daemon: FakeDaemon, mlxctl: Run) -> None:
    assert mlxctl("open", "--print").stdout == f"{ADDRESS}\n"
    said = mlxctl("open", PATH="/nonexistent", BROWSER="", DISPLAY="")
    assert said.stdout == f"{ADDRESS}\n"
    assert "no browser was found" in said.stderr


def test_it_says_that_no_daemon_runs(home: Path, mlxctl: Run) -> None:
    assert mlxctl("open").returncode == 3
