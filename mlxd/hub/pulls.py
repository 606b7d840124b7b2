"""The pulls of the daemon, each a download process (`download_process`).

    queued ──▶ running ──▶ done: the model is installed
                  │
                  ├─▶ refused: it is no model that can run here; nothing is kept
                  ├─▶ failed: what has come is kept, until the pull is asked for again or cancelled
                  ├─▶ cancelled: what has come is removed
                  └─▶ the daemon stops: what has come is kept, and the next daemon resumes it

A process that is killed is a pull that failed. Whatever is on disk is resumed at the byte where it
stopped; `staging` says where it is.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

from mlxd.errors import Draining, InvalidRequest, MlxdError, PullFailed, PullRefused
from mlxd.hub.download_process import DOWNLOAD_COMMAND, download
from mlxd.hub.protocol import Downloaded, DownloadProgress
from mlxd.hub.reference import Reference
from mlxd.hub.staging import Pending, Staging, unfinished

_AT_A_TIME = 2

_log = logging.getLogger("mlxd.pull")


class Pull:
    """One download: its latest `progress` if there is any, and the `error` it ended with."""

    def __init__(self, reference: Reference, staging: Staging) -> None:
        self.reference = reference
        self.staging = staging
        self.progress: DownloadProgress | None = None
        self.error: MlxdError | None = None
        self._task: asyncio.Task[Downloaded] | None = None

    @property
    def running(self) -> bool:
        """Whether it downloads, or waits for its turn."""
        return self._task is not None and not self._task.done()

    async def result(self) -> Downloaded:
        """Wait for the end; any number of callers may.

        Raises:
            PullRefused, PullFailed, HubUnreachable: there is no model, and why.
            Draining: the daemon stops; the next one resumes the download.
        """
        if self._task is not None:
            await asyncio.wait([self._task])
            if self.error is None:
                return self._task.result()
        raise self.error or PullFailed(f"{self.reference} is not being pulled")

    def run(self, task: asyncio.Task[Downloaded]) -> None:
        """Let `task` do the download."""
        self._task = task
        task.add_done_callback(self._ended)

    async def stop(self, error: MlxdError) -> None:
        """End it if it runs, with `error` for everybody who waits."""
        if self._task is not None and not self._task.done():
            self.error = error
            self._task.cancel()
            await asyncio.wait([self._task])

    def show(self, progress: DownloadProgress) -> None:
        """Take note of the progress."""
        self.progress = progress

    def _ended(self, task: asyncio.Task[Downloaded]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, MlxdError):
            _log.error("unexpected error in the pull of %s", self.reference, exc_info=error)
            error = PullFailed(f"internal error: {error!r}")
        self.error = error


class Pulls:
    """The pulls into `models_dir`, at most two at a time and one of each repository.

    Models that need more than `memory_limit` bytes of memory are refused. `command` is the program
    that downloads.
    """

    def __init__(
        self, models_dir: Path, memory_limit: int, command: Sequence[str] = DOWNLOAD_COMMAND
    ) -> None:
        self._models_dir = models_dir
        self._arguments = ("--into", str(models_dir), "--memory-limit", str(memory_limit))
        self._command = command
        self._pulls: dict[str, Pull] = {}
        self._slots = asyncio.Semaphore(_AT_A_TIME)
        self._closed = False

    @property
    def pulls(self) -> list[Pull]:
        """Those that run or wait, and those that failed and have left something on disk."""
        return list(self._pulls.values())

    def resume(self) -> None:
        """Resume what an earlier daemon has begun, and list what failed."""
        for pending in unfinished(self._models_dir):
            if pending.failed is not None:
                self._add(pending.reference).error = PullFailed(pending.failed)
                continue
            try:
                self.start(pending.reference)
            except PullFailed as error:
                _log.warning("cannot resume the pull of %s: %s", pending.reference, error.message)

    def start(self, reference: Reference) -> Pull:
        """Start a download, or return the one that is running.

        Raises:
            InvalidRequest: another revision of the repository is being pulled.
            Draining: the daemon is stopping.
            PullFailed: the models directory cannot be written.
        """
        if self._closed:
            raise Draining("the daemon is stopping: pull again once it is back")
        running = self._pulls.get(reference.repo)
        if running is None or not running.running:
            return self._start(reference)
        if running.reference != reference:
            raise InvalidRequest(
                f"{running.reference} is being pulled: wait for it, or cancel it with "
                f"`mlxctl pull {reference.repo} --cancel`",
                param="model",
            )
        return running

    async def cancel(self, repo: str) -> int:
        """End a download, remove what has come, and return how many bytes that were.

        Raises:
            InvalidRequest: the repository is not being pulled.
        """
        if (pull := self._pulls.get(repo)) is None:
            raise InvalidRequest(f"{repo} is not being pulled", param="model")
        await pull.stop(PullFailed(f"the pull of {repo} was cancelled"))
        removed = pull.staging.size_bytes()
        if self._pulls.get(repo) is pull:  # not cancelled twice, nor started again meanwhile
            self._forget(pull)
        _log.info("the pull of %s was cancelled", repo)
        return removed

    async def close(self) -> None:
        """End every process; what has come stays for the next daemon."""
        self._closed = True
        error = Draining("the daemon is stopping; it resumes the download when it is back")
        await asyncio.gather(*(pull.stop(error) for pull in self.pulls))

    def _add(self, reference: Reference) -> Pull:
        pull = Pull(reference, Staging(self._models_dir, reference.repo))
        self._pulls[reference.repo] = pull
        return pull

    def _start(self, reference: Reference) -> Pull:
        pull = self._add(reference)
        try:
            pull.staging.write(Pending(reference))
        except OSError as error:
            del self._pulls[reference.repo]
            raise PullFailed(f"{pull.staging.folder}: {error.strerror}") from error
        pull.run(asyncio.get_running_loop().create_task(self._download(pull)))
        return pull

    async def _download(self, pull: Pull) -> Downloaded:
        reference = pull.reference
        command = (*self._command, reference.repo, reference.revision, *self._arguments)
        try:
            async with self._slots:
                _log.info("pulling %s", reference)
                done = await download(command, reference, pull.show)
        except MlxdError as error:
            _log.warning("the pull of %s failed: %s", reference, error.message)
            self._keep_failed(pull, error)
            raise
        del self._pulls[reference.repo]
        state = "is up to date" if done.up_to_date else "has been pulled"
        _log.info("%s %s: %s", reference, state, done.path)
        return done

    def _keep_failed(self, pull: Pull, error: MlxdError) -> None:
        if isinstance(error, PullRefused) or not pull.staging.size_bytes():
            self._forget(pull)
            return
        with contextlib.suppress(OSError):  # on a full disk: the next daemon tries once more
            pull.staging.write(Pending(pull.reference, error.message))

    def _forget(self, pull: Pull) -> None:
        del self._pulls[pull.reference.repo]
        pull.staging.remove()
