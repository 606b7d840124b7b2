"""Downloads of models: started, listed and cancelled."""

import asyncio
from typing import Any

from mlxd import control_api
from mlxd.control.background import BackgroundTask
from mlxd.hub import reference
from mlxd.hub.pulls import Pull, Pulls


class PullsControl:
    """Starts, lists and cancels downloads."""

    def __init__(self, pulls: Pulls) -> None:
        self._pulls = pulls
        self._running: set[asyncio.Task[Any]] = set()

    def pull(self, name: str) -> BackgroundTask[control_api.PullReply]:
        """Download a model, or watch its running download.

        Raises:
            InvalidRequest: `name` is not the name of a repository, or another revision of it is
                being downloaded.
            Draining: the daemon is stopping.
            PullFailed: the models directory cannot be written.
        """
        pull = self._pulls.start(reference.parse(name))
        return BackgroundTask(_finish(pull), lambda: _status(pull), self._running)

    def list(self) -> control_api.PullList:
        """Return the downloads that are running, waiting or have failed."""
        return control_api.PullList(pulls=[_status(pull) for pull in self._pulls.pulls])

    async def cancel(self, name: str) -> control_api.CancelPullReply:
        """Cancel a download and remove its partial files.

        Raises:
            InvalidRequest: there is no download of that name.
        """
        repo = reference.parse(name).repo
        return control_api.CancelPullReply(model=repo, bytes_removed=await self._pulls.cancel(repo))


async def _finish(pull: Pull) -> control_api.PullReply:
    done = await pull.result()
    return control_api.PullReply(
        model=pull.reference.repo,
        revision=pull.reference.revision,
        commit=done.commit,
        path=done.path,
        size_bytes=done.size_bytes,
        bytes_fetched=done.bytes_fetched,
        up_to_date=done.up_to_date,
    )


def _status(pull: Pull) -> control_api.PullStatus:
    status = control_api.PullStatus(
        model=pull.reference.repo, revision=pull.reference.revision, state="queued"
    )
    if (progress := pull.progress) is not None:
        status.state = progress.phase
        status.bytes_done = progress.bytes_done
        status.bytes_total = progress.bytes_total
        status.bytes_per_second = progress.bytes_per_second
        status.file = progress.file
        status.cause = progress.note
    if pull.error is not None:
        status.state, status.cause, status.bytes_per_second = "failed", pull.error.message, None
        status.bytes_done = pull.staging.size_bytes()
    return status
