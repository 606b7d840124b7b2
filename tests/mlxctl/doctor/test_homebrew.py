import getpass
from pathlib import Path

import pytest

from mlxctl.doctor import service
from mlxctl.errors import CommandFailed
from mlxctl.service.brew import Listed, listed
from tests.mlxctl.doctor.conftest import WELL, only

ME = getpass.getuser()


@pytest.fixture(autouse=True)
def _standard_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLXD_HOME", raising=False)


@pytest.mark.parametrize(
    ("status", "exit_code", "user", "state", "fix"),
    [
        ("started", 0, ME, "ok", None),
        ("started", 0, "nobody-else", "warning", "sudo brew services stop mlxd"),
        ("error", 1, ME, "error", "brew services restart mlxd"),
        ("stopped", 0, ME, "warning", "mlxctl start"),
        ("none", None, ME, "warning", "mlxctl start"),
        ("unknown", None, ME, "warning", "mlxctl start"),
    ],
)
def test_what_brew_knows(
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    exit_code: int | None,
    user: str,
    state: str,
    fix: str | None,
) -> None:
    listing = Listed("mlxd", status, user, exit_code=exit_code)
    monkeypatch.setattr(service, "listed", lambda: listing)
    found, message, does = only(service.homebrew, WELL)
    assert (found, does) == (state, fix)
    assert message.startswith("Homebrew's service ")


@pytest.mark.parametrize("found", [None, Listed("mlxd", "none")])
def test_nothing_is_said_where_it_was_never_started(
    monkeypatch: pytest.MonkeyPatch, found: Listed | None
) -> None:
    monkeypatch.setattr(service, "listed", lambda: found)
    assert list(service.homebrew(WELL)) == []


def brew(root: Path, monkeypatch: pytest.MonkeyPatch, body: str, formula: str = "mlxd") -> None:
    (root / "bin").mkdir()
    (root / "opt" / formula).mkdir(parents=True)
    program = root / "bin" / "brew"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{root / 'bin'}:/usr/bin:/bin")


def test_brew_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A later Homebrew may tell more.
    told = '[{"name":"x","status":"none"},{"name":"mlxd","status":"error","exit_code":1,"new":2}]'
    brew(tmp_path, monkeypatch, f"""test "$*" = "services list --json" && echo '{told}'""")
    assert listed() == Listed("mlxd", "error", exit_code=1)


@pytest.mark.parametrize("body", ["", "echo '[]'"])
def test_no_services_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    brew(tmp_path, monkeypatch, body)
    assert listed() is None


def test_where_mlxd_is_not_homebrews_brew_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brew(tmp_path, monkeypatch, "exit 1", formula="jq")
    assert listed() is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo Error: broken >&2; exit 1", "failed: Error: broken"),
        ("echo oops", "not print a list"),
    ],
)
def test_a_brew_that_fails_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    brew(tmp_path, monkeypatch, body)
    with pytest.raises(CommandFailed, match=said):
        listed()
    assert only(service.homebrew, WELL)[0] == "warning"
