"""Reading what launchctl prints for people."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mlxctl.errors import CommandFailed
from mlxctl.service.launchctl import Job, Launchctl, parse

Script = Callable[[str], Launchctl]


@pytest.fixture
def launchctl(tmp_path: Path) -> Script:
    """Make a launchctl of a line of shell."""

    def make(line: str) -> Launchctl:
        file = tmp_path / "launchctl"
        file.write_text(f"#!/bin/sh\n{line}\n")
        file.chmod(0o755)
        return Launchctl(str(file))

    return make


RUNNING = """gui/501/dev.mlxd = {
	active count = 1
	path = /Users/ada/Library/LaunchAgents/dev.mlxd.plist
	type = LaunchAgent
	state = running

	program = /Users/ada/.venv/bin/mlxd
	arguments = {
		/Users/ada/.venv/bin/mlxd
		--log-file
		/Users/ada/a log
	}

	environment = {
		state = no field of ours
	}

	runs = 3
	pid = 4711
	last exit code = 78: EX_CONFIG

	resource coalition = {
		state = active
		pid = 1
	}

	spawn type = interactive (4)
}
"""


def test_the_fields_one_tab_deep() -> None:
    assert parse(RUNNING) == Job(
        path="/Users/ada/Library/LaunchAgents/dev.mlxd.plist",
        arguments=("/Users/ada/.venv/bin/mlxd", "--log-file", "/Users/ada/a log"),
        state="running",
        pid=4711,
        runs=3,
        last_exit="78: EX_CONFIG",
    )


@pytest.mark.parametrize(
    ("line", "last_exit"),
    [
        ("last exit code = (never exited)", None),
        ("last exit code = 0", "0"),
        ("last terminating signal = Killed: 9", "Killed: 9"),
        ("last exit reason = OS_REASON_CODESIGNING", "OS_REASON_CODESIGNING"),
        ("last exit code = 9\n\tlast exit reason = JETSAM", "9, JETSAM"),
        ("something = else", None),
    ],
)
def test_the_last_exit(line: str, last_exit: str | None) -> None:
    assert parse(f"x = {{\n\t{line}\n}}\n").last_exit == last_exit


def test_what_is_missing_is_unknown() -> None:
    assert parse("nonsense") == Job()
    assert parse(RUNNING.replace("\tpid = 4711\n", "")).pid is None
    assert parse(RUNNING.replace("\t}\n", "")).arguments is None


@pytest.mark.parametrize(
    ("printed", "labels"),
    [
        ('disabled services = {\n\t"a" => disabled\n\t"b" => enabled\n}\n', {"a"}),
        ('disabled services = {\n\t"a" => true\n\t"b" => false\n}\n', {"a"}),
        ("nonsense", set()),
    ],
)
def test_what_is_disabled_before_and_since_ventura(
    launchctl: Script, printed: str, labels: set[str]
) -> None:
    assert launchctl(f"printf '{printed}'").disabled("gui/501") == labels


def test_a_complaint_is_what_tells_something(launchctl: Script) -> None:
    said = "Bootstrap failed: 5: Input/output error"
    hint = "Try re-running the command as root for richer errors."
    assert launchctl(f"printf '{said}\n{hint}\n' >&2; exit 5").run("x").complaint == said
    missing = 'Could not find service "x" in domain for user gui: 501'
    found = launchctl(f"printf 'Bad request.\n{missing}\n' >&2; exit 113").run("x")
    assert (found.status, found.complaint) == (113, missing)
    with pytest.raises(CommandFailed, match=r"launchctl x failed \(7\): it does not say why"):
        launchctl("exit 7").demand("x")
    assert launchctl("exit 7").demand("x", fine=(7,)).status == 7


def test_a_launchctl_that_is_not_there_is_one_line() -> None:
    with pytest.raises(CommandFailed, match="/no/launchctl: No such file"):
        Launchctl("/no/launchctl").run("print", "system")
