"""Running launchctl: its exit statuses, and what it prints for people."""

import re
import subprocess
from pathlib import Path

import msgspec

from mlxctl.errors import CommandFailed

NO_SUCH_PROCESS = 3
INPUT_OUTPUT_ERROR = 5  # of a bootstrap: whatever it may be; loaded, leaving and disabled too
NOW_IN_PROGRESS = 36  # of a bootout that takes longer than launchctl waits
ALREADY_IN_PROGRESS = 37
NO_SUCH_DOMAIN = 112
NO_SUCH_SERVICE = 113
SERVICE_DISABLED = 119
BAD_OWNERSHIP = 122
NOT_IN_THIS_DOMAIN = 125  # gui/UID, of a user who is logged in by SSH only
NOT_IN_THIS_SESSION = 134  # what its plist limits it to is another one

NO_DOMAIN = (NO_SUCH_DOMAIN, NOT_IN_THIS_DOMAIN)
NOT_HERE = (*NO_DOMAIN, NOT_IN_THIS_SESSION)
GONE = (NO_SUCH_PROCESS, NO_SUCH_SERVICE)

_TIMEOUT_SECONDS = 120.0
_FIELD = re.compile(r"^\t([a-z][a-z ]*) = (.*)$", re.MULTILINE)
_NUMBER = re.compile(r"\d+")
_ARGUMENTS = re.compile(r"^\targuments = \{\n((?:\t\t.*\n)*)\t\}$", re.MULTILINE)
_NOT_SAYING = ("Bad request.", "Try re-running the command as root for richer errors.")
_DISABLED = re.compile(r'^\s*"([^"]+)" => (?:disabled|true)$', re.MULTILINE)


class Job(msgspec.Struct, frozen=True):
    """A loaded job as `launchctl print` describes it; None for what it does not tell.

    `last_exit` is as launchctl writes it: "0", "78: EX_CONFIG" or "Killed: 9".
    """

    path: str | None = None
    arguments: tuple[str, ...] | None = None
    state: str | None = None
    pid: int | None = None
    runs: int | None = None
    last_exit: str | None = None


class CommandResult(msgspec.Struct, frozen=True):
    """How a launchctl ended, and what it said."""

    status: int
    output: str
    complaint: str


class Launchctl:
    """The launchctl at `program`."""

    def __init__(self, program: str) -> None:
        self._program = program

    def run(self, *arguments: str | Path) -> CommandResult:
        """Run a subcommand to its end.

        Raises:
            CommandFailed: it cannot be run, or does not end.
        """
        command = [self._program, *map(str, arguments)]
        try:
            done = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_SECONDS
            )
        except OSError as error:
            raise CommandFailed(f"{self._program}: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"{' '.join(command)} does not end") from error
        said = map(str.strip, done.stderr.decode(errors="replace").splitlines())
        complaint = "; ".join(line for line in said if line and line not in _NOT_SAYING)
        return CommandResult(done.returncode, done.stdout.decode(errors="replace"), complaint)

    def demand(self, *arguments: str | Path, fine: tuple[int, ...] = ()) -> CommandResult:
        """Run a subcommand that has to end with 0 or with a status of `fine`.

        Raises:
            CommandFailed: it ends with another one.
        """
        done = self.run(*arguments)
        if done.status and done.status not in fine:
            raise CommandFailed(
                f"launchctl {' '.join(map(str, arguments))} failed ({done.status}): "
                f"{done.complaint or 'it does not say why'}"
            )
        return done

    def look(self, target: str) -> tuple[int, Job | None]:
        """Give launchctl's exit status, and the job that is loaded as `target`, if there is one."""
        done = self.run("print", target)
        return done.status, parse(done.output) if done.status == 0 else None

    def job(self, target: str) -> Job | None:
        """Give the job that is loaded as `target`, None when there is none."""
        return self.look(target)[1]

    def disabled(self, domain: str) -> set[str]:
        """Give the labels that are not to be loaded in `domain`."""
        return set(_DISABLED.findall(self.run("print-disabled", domain).output))


def parse(text: str) -> Job:
    """Read what `launchctl print` says of a job; its own fields are one tab deep."""
    fields = dict(_FIELD.findall(text))
    last = fields.get("last terminating signal") or fields.get("last exit code")
    reason = fields.get("last exit reason")  # of the kernel's, as JETSAM or CODESIGNING
    if reason is not None:
        last = f"{last}, {reason}" if last else reason
    arguments = _ARGUMENTS.search(text)
    return Job(
        path=fields.get("path"),
        arguments=tuple(line[2:] for line in arguments[1].splitlines()) if arguments else None,
        state=fields.get("state"),
        pid=_number(fields.get("pid")),
        runs=_number(fields.get("runs")),
        last_exit=None if last is None or "never exited" in last else last,
    )


def _number(text: str | None) -> int | None:
    match = _NUMBER.match(text or "")
    return int(match[0]) if match else None
