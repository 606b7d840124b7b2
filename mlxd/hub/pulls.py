"""Downloads from the model hub: each is a process of its own, which the daemon starts and watches.

What is wanted is noted on disk (`mlxd.hub.staging`), so that a new daemon goes on with it.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mlxd.errors import (
    Draining,
    HubUnreachable,
    InvalidRequest,
    MlxdError,
    PullFailed,
    PullRefused,
)
from mlxd.hub.protocol import Downloaded, DownloadFailed, DownloadProgress, FailureKind, decode_line
from mlxd.hub.reference import Reference
from mlxd.hub.staging import Pending, Staging, unfinished

DOWNLOAD_COMMAND = (sys.executable, "-P", "-m", "mlxd.hub")
_AT_A_TIME = 2
_LIVES = 3
_MAX_LINE = 1 << 20
_LITTLE_BYTES = 10_000_000
_FAILURES: dict[FailureKind, type[MlxdError]] = {
    "refused": PullRefused,
    "failed": PullFailed,
    "unreachable": HubUnreachable,
}
_ENVIRONMENT = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "PYTHONUNBUFFERED": "1",
}

_log = logging.getLogger("mlxd.pull")


class Pull:
    """One download: how far it is, and its end.

    `progress` is what the process said last, None where there is none yet. `error` says why it is
    over without a model.
    """

    def __init__(self, reference: Reference, staging: Staging) -> None:
        self.reference = reference
        self.staging = staging
        self.progress: DownloadProgress | None = None
        self.error: MlxdError | None = None
        self.ended: asyncio.Future[Downloaded] = asyncio.get_running_loop().create_future()

    async def result(self) -> Downloaded:
        """Wait for the end, for as many as want to know it.

        Raises:
            PullRefused, PullFailed, HubUnreachable: there is no model, and why.
            Draining: the daemon stops; the next one goes on.
        """
        return await asyncio.shield(self.ended)

    def succeed(self, done: Downloaded) -> None:
        """End with a model."""
        self.ended.set_result(done)

    def fail(self, error: MlxdError) -> None:
        """End without one."""
        self.error = error
        self.ended.set_exception(error)
        self.ended.exception()  # perhaps nobody waits for it

    def outlive(self, task: asyncio.Task[None]) -> None:
        """Leave nobody waiting where the task that saw it through has ended by a bug."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the pull of %s ended in an error", self.reference, exc_info=error)
            if not self.ended.done():
                self.fail(PullFailed(f"internal error: {error!r}"))


class Pulls:
    """The downloads into `models_dir`, a few at a time; one for each repository.

    Models whose weights are over `memory_limit` bytes are refused. `command` is what is run.
    """

    def __init__(
        self, models_dir: Path, memory_limit: int, command: Sequence[str] = DOWNLOAD_COMMAND
    ) -> None:
        self._models_dir = models_dir
        self._arguments = ("--into", str(models_dir), "--memory-limit", str(memory_limit))
        self._command = command
        self._pulls: dict[str, Pull] = {}
        self._tasks: dict[Pull, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_AT_A_TIME)
        self._closed = False

    @property
    def pulls(self) -> list[Pull]:
        """Those that run or wait, and those that have failed and left something on disk."""
        return list(self._pulls.values())

    def resume(self) -> None:
        """Go on with what an earlier daemon has begun, but for what had failed."""
        for pending in unfinished(self._models_dir):
            if pending.failed is not None:
                self._add(pending.reference).fail(PullFailed(pending.failed))
                continue
            try:
                self.start(pending.reference)
            except PullFailed as error:
                _log.warning("the pull of %s cannot go on: %s", pending.reference, error.message)

    def start(self, reference: Reference) -> Pull:
        """Begin a download, or give the one that is on its way.

        Raises:
            InvalidRequest: another revision of the same repository is on its way.
            Draining: the daemon is stopping.
            PullFailed: nothing can be written to the models directory.
        """
        if self._closed:
            raise Draining("the daemon is stopping: pull once it has started again")
        pull = self._pulls.get(reference.repo)
        if pull is None or pull.ended.done():
            pull = self._add(reference)
            try:
                pull.staging.write(Pending(reference))
            except OSError as error:
                del self._pulls[reference.repo]
                raise PullFailed(f"{pull.staging.folder}: {error.strerror}") from error
            task = asyncio.get_running_loop().create_task(self._live(pull))
            task.add_done_callback(pull.outlive)
            self._tasks[pull] = task
        elif pull.reference != reference:
            raise InvalidRequest(
                f"{pull.reference} is on its way: let it finish, or end it with "
                f"`mlxctl pull {pull.reference.repo} --cancel`",
                param="model",
            )
        return pull

    async def cancel(self, repo: str) -> int:
        """End a download, remove what has come of it, and give how many bytes that were.

        Raises:
            InvalidRequest: there is none.
        """
        if (pull := self._pulls.get(repo)) is None:
            raise InvalidRequest(f"{repo} is not being pulled", param="model")
        await self._end(pull, PullFailed(f"the pull of {repo} was cancelled"))
        size = pull.staging.size_bytes()
        if self._pulls.get(repo) is pull:  # neither cancelled twice nor begun anew meanwhile
            pull.staging.remove()
            del self._pulls[repo]
        _log.info("the pull of %s was cancelled", repo)
        return size

    async def close(self) -> None:
        """End every process; what has come stays for the next daemon."""
        self._closed = True
        stopped = Draining("the daemon is stopping: it goes on with the download when it is back")
        await asyncio.gather(*(self._end(pull, stopped) for pull in list(self._tasks)))

    def _add(self, reference: Reference) -> Pull:
        pull = Pull(reference, Staging(self._models_dir, reference.repo))
        self._pulls[reference.repo] = pull
        return pull

    async def _end(self, pull: Pull, error: MlxdError) -> None:
        if (task := self._tasks.get(pull)) is not None:
            task.cancel()
            await asyncio.wait([task])
        if not pull.ended.done():
            pull.fail(error)

    async def _live(self, pull: Pull) -> None:
        """See one download through."""
        try:
            async with self._slots:
                _log.info("pulling %s", pull.reference)
                last = await self._last_words(pull)
        finally:
            del self._tasks[pull]
        if isinstance(last, Downloaded):
            self._pulls.pop(pull.reference.repo)
            what = "is up to date" if last.up_to_date else "has been pulled"
            _log.info("%s %s: %s", pull.reference, what, last.path)
            pull.succeed(last)
        else:
            _log.warning("%s was not pulled: %s", pull.reference, last.message)
            self._keep_failed(pull, last)
            pull.fail(_FAILURES[last.kind](last.message))

    def _keep_failed(self, pull: Pull, failure: DownloadFailed) -> None:
        """Keep what is worth it; where only the hub is away the next daemon goes on.

        A refusal may also come late: of a token that is no longer good, of less memory than before.
        """
        worth_keeping = _LITTLE_BYTES if failure.kind == "refused" else 0
        if pull.staging.size_bytes() <= worth_keeping:
            del self._pulls[pull.reference.repo]
            pull.staging.remove()
        elif failure.kind != "unreachable":
            with contextlib.suppress(OSError):  # on a full disk: the next daemon tries once more
                pull.staging.write(Pending(pull.reference, failure.message))

    async def _last_words(self, pull: Pull) -> Downloaded | DownloadFailed:
        """Run the process, again if it is killed, and give what it said at last."""
        for _ in range(_LIVES):
            try:
                process = await self._spawn(pull.reference)
            except OSError as error:
                return DownloadFailed(kind="failed", message=f"no process can be started: {error}")
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_log_output(process, pull.reference))
                    last = group.create_task(_follow(process, pull))
                status = await process.wait()
            finally:
                await _terminate(process)
            if (words := last.result()) is not None:
                return words
            if status >= 0:
                break
            _log.warning("the download of %s was killed, and goes on", pull.reference)
        return DownloadFailed(
            kind="failed",
            message=f"the process that downloads {pull.reference} {_how(status)}: mlxctl logs",
        )

    async def _spawn(self, reference: Reference) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(*self._command, reference.repo, reference.revision, *self._arguments),
            # It ends when this pipe does, which is when the daemon does.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_MAX_LINE,
            start_new_session=True,
            env={**os.environ, **_ENVIRONMENT},
        )


async def _follow(
    process: asyncio.subprocess.Process, pull: Pull
) -> Downloaded | DownloadFailed | None:
    """Take what the process says, and give its last words; None where it had none."""
    assert process.stdout is not None  # noqa: S101  asked for above
    async for line in process.stdout:
        try:
            report = decode_line(line)
        except msgspec.DecodeError:
            _log.warning("the download of %s says %r", pull.reference, line)
            continue
        if isinstance(report, DownloadProgress):
            pull.progress = report
        else:
            return report
    return None


async def _log_output(process: asyncio.subprocess.Process, reference: Reference) -> None:
    assert process.stderr is not None  # noqa: S101  asked for above
    async for line in process.stderr:
        _log.info("%s: %s", reference, line.decode(errors="replace").rstrip())


async def _terminate(process: asyncio.subprocess.Process) -> None:
    """End a process that may have ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _how(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"
