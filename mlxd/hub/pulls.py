"""The pulls of the daemon, each a download process (`download_process`).

    queued ──▶ running ──▶ done: the model is installed
                  │
                  ├─▶ refused: the model cannot run here; nothing is kept
                  ├─▶ failed: the files are kept until the pull is started again or cancelled
                  ├─▶ cancelled: the files are removed
                  └─▶ the daemon stops: the files are kept, and the next daemon resumes the pull

A pull whose process is killed has failed. A pull that is started again or resumed continues with
the files on disk (`staging`), at the byte where it stopped.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from mlxd.control_api import PullReply, PullStatus
from mlxd.errors import Draining, InvalidRequest, MlxdError, PullFailed, PullRefused
from mlxd.hub.download_process import DOWNLOAD_COMMAND, download
from mlxd.hub.reference import Reference
from mlxd.hub.staging import Pending, Staging, unfinished
from mlxd.metrics.metrics import Metrics

_AT_A_TIME = 2
_DOWNLOADING = "downloading"

_log = logging.getLogger("mlxd.pull")


class Pull:
    """One download: the `task` that does it, and the `error` it ended with."""

    def __init__(self, reference: Reference, models_dir: Path, metrics: Metrics) -> None:
        self._metrics = metrics
        self._fetched = 0
        self.reference = reference
        self.staging = Staging(models_dir, reference.repo)
        self.task: asyncio.Task[PullReply] | None = None
        self.error: MlxdError | None = None
        self._progress = PullStatus(
            model=reference.repo, revision=reference.revision, state="queued"
        )

    @property
    def running(self) -> bool:
        """Whether it downloads, or waits for its turn."""
        return self.task is not None and not self.task.done()

    @property
    def status(self) -> PullStatus:
        """Its latest progress, or why it failed."""
        if self.error is None:
            return self._progress
        return msgspec.structs.replace(
            self._progress,
            state="failed",
            cause=self.error.message,
            bytes_done=self.staging.size_bytes(),
            bytes_per_second=None,
        )

    async def result(self) -> PullReply:
        """Wait for the end; any number of callers may.

        Raises:
            PullRefused, PullFailed, HubUnreachable: there is no model, and why.
            Draining: the daemon stops; the next one resumes the download.
        """
        if self.task is not None:
            await asyncio.wait([self.task])
            if self.error is None:
                return self.task.result()
        raise self.error or PullFailed(f"{self.reference} is not being pulled")

    async def stop(self, error: MlxdError) -> None:
        """End it if it runs, and raise `error` for every caller of `result`."""
        if self.task is not None and not self.task.done():
            self.error = error
            self.task.cancel()
            await asyncio.wait([self.task])

    def show(self, progress: PullStatus) -> None:
        """Take note of the progress."""
        before = self._progress
        if before.state == progress.state == _DOWNLOADING:  # not what was on the disk before
            self._count(self._fetched + progress.bytes_done - before.bytes_done)
        self._progress = progress

    def _count(self, fetched: int) -> None:
        """Count what is new of the bytes that were fetched in all."""
        self._metrics.pulled(max(0, fetched - self._fetched))
        self._fetched = max(fetched, self._fetched)

    def ended(self, task: asyncio.Task[PullReply]) -> None:
        """Take note of the error that its task ended with."""
        if task.cancelled():
            self._metrics.pull_ended("cancelled")
            return
        if (error := task.exception()) is None:
            self._metrics.pull_ended("done")
            self._count(task.result().bytes_fetched)
            return
        self._metrics.pull_ended("failed")
        if not isinstance(error, MlxdError):
            _log.error("unexpected error in the pull of %s", self.reference, exc_info=error)
            error = PullFailed(f"internal error: {error!r}")
        self.error = error


class Pulls:
    """The pulls into `models_dir`, at most two at a time and one of each repository.

    Models that need more than `memory_limit` bytes of memory are refused. `command` is the program
    that downloads, with up to `connections` connections; it gets `variables` about the network,
    those of `mlxd.network`.
    """

    def __init__(
        self,
        models_dir: Path,
        memory_limit: int,
        connections: int,
        command: Sequence[str] = DOWNLOAD_COMMAND,
        variables: Mapping[str, str] = {},
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics or Metrics()
        self._models_dir = models_dir
        limits = ("--memory-limit", str(memory_limit), "--connections", str(connections))
        self._arguments = ("--into", str(models_dir), *limits)
        self._command = command
        self._variables = variables
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
            pull = Pull(pending.reference, self._models_dir, self._metrics)
            if pending.failed is None:
                self._begin(pull)
            else:
                pull.error = PullFailed(pending.failed)
                self._pulls[pull.reference.repo] = pull

    def start(self, reference: Reference) -> Pull:
        """Start a download, or return the one that is running.

        Raises:
            InvalidRequest: another revision of the repository is being pulled.
            Draining: the daemon is stopping.
            PullFailed: the models directory cannot be written.
        """
        if self._closed:
            raise Draining("the daemon is stopping: pull again once it is back")
        if (pull := self._pulls.get(reference.repo)) is None or not pull.running:
            pull = Pull(reference, self._models_dir, self._metrics)
            try:
                pull.staging.write(Pending(reference))
            except OSError as error:
                raise PullFailed(f"{pull.staging.folder}: {error.strerror}") from error
            self._begin(pull)
        elif pull.reference != reference:
            raise InvalidRequest(
                f"{pull.reference} is being pulled: wait for it, or cancel it with "
                f"`mlxctl pull {reference.repo} --cancel`",
                param="model",
            )
        return pull

    async def cancel(self, repo: str) -> int:
        """End a download, remove what was downloaded, and return how many bytes that were.

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
        """End every process; what was downloaded stays for the next daemon."""
        self._closed = True
        error = Draining("the daemon is stopping; it resumes the download when it is back")
        await asyncio.gather(*(pull.stop(error) for pull in self.pulls))

    def _begin(self, pull: Pull) -> None:
        self._pulls[pull.reference.repo] = pull
        self._metrics.pull_began()
        pull.task = asyncio.create_task(self._download(pull))
        pull.task.add_done_callback(pull.ended)

    async def _download(self, pull: Pull) -> PullReply:
        reference = pull.reference
        command = (*self._command, reference.repo, reference.revision, *self._arguments)
        try:
            async with self._slots:
                _log.info("pulling %s", reference)
                done = await download(command, reference, pull.show, self._variables)
        except MlxdError as error:
            _log.warning("the pull of %s failed: %s", reference, error.message)
            if isinstance(error, PullRefused) or not pull.staging.size_bytes():
                self._forget(pull)
            else:
                with contextlib.suppress(OSError):  # on a full disk: the next daemon tries again
                    pull.staging.write(Pending(reference, error.message))
            raise
        del self._pulls[reference.repo]
        state = "is up to date" if done.up_to_date else "has been pulled"
        _log.info("%s %s: %s", reference, state, done.path)
        return done

    def _forget(self, pull: Pull) -> None:
        del self._pulls[pull.reference.repo]
        pull.staging.remove()
