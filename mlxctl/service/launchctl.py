"""Running launchctl: its exit statuses, and the little of its output that is read."""

import re
from pathlib import Path

import msgspec

from mlxctl import programs
from mlxctl.errors import CommandFailed
from mlxctl.programs import ProgramResult

NO_SUCH_PROCESS = 3
INPUT_OUTPUT_ERROR = 5  # bootstrap answers this for almost everything
NOW_IN_PROGRESS = 36  # bootout, when unloading takes longer than launchctl waits
ALREADY_IN_PROGRESS = 37
NO_SUCH_DOMAIN = 112
NO_SUCH_SERVICE = 113
NOT_IN_THIS_DOMAIN = 125  # gui/UID, for a user who is logged in by SSH only

_SECONDS = 120.0
_LOOK_SECONDS = 5.0
_PID = re.compile(r"^\tpid = (\d+)$", re.MULTILINE)
_LAST_EXIT = re.compile(r"^\tlast (?:exit code|terminating signal) = ([^(\n].*)$", re.MULTILINE)
_DISABLED = re.compile(r'^\s*"([^"]+)" => (?:disabled|true)$', re.MULTILINE)


class Job(msgspec.Struct, frozen=True):
    """A loaded job.

    What `launchctl print` prints is no interface, says Apple, so either may be None although the
    job runs or has ended. `last_exit` is launchctl's text: "0", "78: EX_CONFIG" or "Killed: 9".
    """

    pid: int | None = None
    last_exit: str | None = None


def run(*arguments: str | Path) -> ProgramResult:
    """Run a subcommand to its end.

    Raises:
        CommandFailed: launchctl cannot be run, or does not end in time.
    """
    seconds = _LOOK_SECONDS if arguments[0] in ("print", "print-disabled") else _SECONDS
    return programs.run(["launchctl", *arguments], seconds=seconds)


def demand(*arguments: str | Path, fine: tuple[int, ...] = ()) -> None:
    """Run a subcommand that has to end with 0 or with a status in `fine`.

    Raises:
        CommandFailed: it ends with another one.
    """
    done = run(*arguments)
    if done.status and done.status not in fine:
        raise CommandFailed(refusal(done, *arguments))


def job(target: str) -> Job | None:
    """Return the job that is loaded as `target`, None if there is none."""
    done = run("print", target)
    return parse(done.output) if done.status == 0 else None


def has_domain(domain: str) -> bool:
    """Whether jobs can be loaded into `domain`."""
    return run("print", domain).status not in (NO_SUCH_DOMAIN, NOT_IN_THIS_DOMAIN)


def is_disabled(domain: str, label: str) -> bool:
    """Whether launchd is told not to load the job `label` into `domain`."""
    return label in _DISABLED.findall(run("print-disabled", domain).output)


def refusal(done: ProgramResult, *arguments: str | Path) -> str:
    """Return one line that says what launchctl refused, and why."""
    # The first line says it; the others are hints such as "Try re-running the command as root".
    said = [line for line in done.errors.splitlines() if line.strip() not in ("", "Bad request.")]
    reason = said[0].strip() if said else done.reason
    return f"launchctl {' '.join(map(str, arguments))} failed ({done.status}): {reason}"


def parse(text: str) -> Job:
    """Read what `launchctl print` prints about a job; its own fields are one tab deep."""
    pid, last_exit = _PID.search(text), _LAST_EXIT.search(text)
    return Job(int(pid[1]) if pid else None, last_exit[1] if last_exit else None)
