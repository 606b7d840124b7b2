"""Running launchctl, and the little of its output that is read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mlxctl.errors import CommandFailed
from mlxctl.service import launchctl
from mlxctl.service.launchctl import Job, parse

Script = Callable[[str], None]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Have launchctl be a line of shell."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def make(line: str) -> None:
        file = tmp_path / "launchctl"
        file.write_text(f"#!/bin/sh\n{line}\n")
        file.chmod(0o755)

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


def test_the_process_and_its_last_exit_are_one_tab_deep() -> None:
    assert parse(RUNNING) == Job(pid=4711, last_exit="78: EX_CONFIG")


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
    assert parse(f"x = {{\n\t{line}\n}}\n") == Job(last_exit=last_exit)


def test_a_job_is_loaded_whatever_launchctl_prints_about_it(script: Script) -> None:
    script("echo nonsense")
    assert launchctl.job("gui/501/x") == Job()
    script("exit 113")
    assert launchctl.job("gui/501/x") is None


def test_a_domain_that_does_not_exist(script: Script) -> None:
    script("exit 0")
    assert launchctl.has_domain("gui/501")
    script("exit 125")
    assert not launchctl.has_domain("gui/501")


@pytest.mark.parametrize(
    ("printed", "labels"),
    [
        ('disabled services = {\n\t"a" => disabled\n\t"b" => enabled\n}\n', {"a"}),
        ('disabled services = {\n\t"a" => true\n\t"b" => false\n}\n', {"a"}),
        ("nonsense", set()),
    ],
)
def test_what_is_disabled_before_and_since_ventura(
    script: Script, printed: str, labels: set[str]
) -> None:
    script(f"printf '{printed}'")
    assert {label for label in "ab" if launchctl.is_disabled("gui/501", label)} == labels


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "Bootstrap failed: 5: Input/output error\n"
            "Try re-running the command as root for richer errors.\n",
            "Bootstrap failed: 5: Input/output error",
        ),
        ('Bad request.\nCould not find service "x"\n', 'Could not find service "x"'),
        ("", "status 7"),
    ],
)
def test_what_launchctl_refuses_is_one_line(script: Script, said: str, reason: str) -> None:
    script(f"printf '{said}' >&2; exit 7")
    with pytest.raises(CommandFailed) as refused:
        launchctl.demand("kickstart", "gui/501/x")
    assert refused.value.message == f"launchctl kickstart gui/501/x failed (7): {reason}"
    launchctl.demand("kickstart", "gui/501/x", fine=(7,))


def test_a_launchctl_that_hangs_is_one_line(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launchctl, "_LOOK_SECONDS", 0.1)
    script("exec sleep 60")
    with pytest.raises(CommandFailed, match=r"print system did not end within 0\.1 s"):
        launchctl.run("print", "system")
