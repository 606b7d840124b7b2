"""Without a service manager: the daemon as a process in a session of its own."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mlxctl.errors import CommandFailed, NoAnswer
from mlxctl.programs import last_lines
from mlxctl.service.description import absolute
from mlxctl.service.manager import Report, ServiceManager, ServiceStatus
from mlxd import paths, run_record
from mlxd.control_api import Status
from mlxd.run_record import RunRecord

if TYPE_CHECKING:
    import subprocess

_TAIL_LINES = 15
_LOG_FILE = "--log-file"


class ProcessManager(ServiceManager):
    """Starts the daemon with this environment."""

    name = "none"

    def describe(self) -> ServiceStatus:
        """Describe the absence of a service manager."""
        running = self.pid() is not None
        end = None if running else self._daemon.last_end()
        return ServiceStatus(manager=self.name, loaded=running, last_exit=str(end) if end else None)

    def restart(self, report: Report) -> Status:
        """Stop the daemon if it runs, then start it; connections are refused in between.

        The new daemon gets the flags and the folder of the old one, and those of its `MLXD_…`
        variables that this environment does not set.

        Raises CommandFailed if one of these is a secret, which only its daemon knows.
        """
        before = None
        if (pid := self.pid()) is not None:
            before = self._record_of(pid)
            _check_secrets(before)
            self._terminate(pid, report)
        return self._start(before)

    def _start(self, before: RunRecord | None = None) -> Status:
        process = self._spawn(before)

        def failure() -> str:
            code = process.poll()
            # Of two that start at once, one takes the lock; the other ends and is no failure.
            return "" if code is None or self.pid() else _why_it_ended(code)

        try:
            status = self._wait_for_answer(failure)
        except NoAnswer as error:
            process.kill()
            process.wait()
            end = _end_of(paths.log_file())
            raise NoAnswer(f"{error.message} and was killed{end}") from error
        if status.pid != process.pid:  # it could take the lock later, when nobody expects it
            process.kill()
            process.wait()
        return status

    def _unload(self, report: Report) -> bool:  # noqa: ARG002
        return False

    def _record_of(self, pid: int) -> RunRecord | None:
        """Return how the daemon `pid` was started, if its socket is where this shell looks."""
        record = run_record.read(paths.run_record_file())
        known = record is not None and record.pid == pid and self._daemon.socket_file.exists()
        return record if known else None

    def _spawn(self, before: RunRecord | None) -> "subprocess.Popen[bytes]":
        import subprocess  # `mlxctl status` imports this module and starts nothing

        arguments = before.arguments if before else []
        if not any(each.partition("=")[0] == _LOG_FILE for each in arguments):
            arguments = [_LOG_FILE, str(paths.log_file()), *arguments]
        output = _open_output(paths.stderr_file())
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "mlxd", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=before.folder if before and os.path.isdir(before.folder) else "/",
                env=(before.environment if before else {}) | absolute(os.environ, self._config),
                start_new_session=True,
            )
        finally:
            os.close(output)


def _check_secrets(before: RunRecord | None) -> None:
    """Refuse to go on without a key that the daemon had: it would serve everybody."""
    missing = [name for name in before.secrets if name not in os.environ] if before else []
    if missing:
        raise CommandFailed(
            f"the daemon has {' and '.join(missing)} from its environment, this shell does not: "
            "set it and try again, or start the daemon without it by mlxctl stop && mlxctl start"
        )


def _why_it_ended(code: int) -> str:
    how = f"signal {-code}" if code < 0 else f"exit status {code}"
    return f"{how}{_end_of(paths.stderr_file()) or _end_of(paths.log_file())}"


def _end_of(file: Path) -> str:
    """Return the last lines of `file` as the end of a message; empty if it has none."""
    lines = last_lines(file, _TAIL_LINES)
    return "".join([f"; the end of {file}:", *(f"\n  {line}" for line in lines)]) if lines else ""


def _open_output(file: Path) -> int:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror}") from error
