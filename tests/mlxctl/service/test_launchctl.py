"""Reading what launchctl prints for people."""

import pytest

from mlxctl.errors import CommandFailed
from mlxctl.service.launchctl import Job, Launchctl, parse

RUNNING = """gui/501/dev.mlxd = {
	active count = 1
	path = /Users/ada/Library/LaunchAgents/dev.mlxd.plist
	type = LaunchAgent
	state = running

	program = /Users/ada/.venv/bin/mlxd
	arguments = {
		/Users/ada/.venv/bin/mlxd
	}

	environment = {
		state = no field of ours
	}

	runs = 3
	pid = 4711
	last exit code = 78: EX_CONFIG

	spawn type = interactive (4)
}
"""


def test_the_fields_one_tab_deep() -> None:
    assert parse(RUNNING) == Job(
        path="/Users/ada/Library/LaunchAgents/dev.mlxd.plist",
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
        ("something = else", None),
    ],
)
def test_the_last_exit(line: str, last_exit: str | None) -> None:
    assert parse(f"x = {{\n\t{line}\n}}\n").last_exit == last_exit


def test_what_is_missing_is_unknown() -> None:
    assert parse("nonsense") == Job()


def test_a_launchctl_that_is_not_there_is_one_line() -> None:
    with pytest.raises(CommandFailed, match="/no/launchctl: No such file"):
        Launchctl("/no/launchctl").run("print", "system")
