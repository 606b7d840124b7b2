"""Downloads of models: started, listed and cancelled."""

import asyncio
from typing import Any

from mlxd import control_api
from mlxd.control.background import BackgroundTask
from mlxd.hub import reference
from mlxd.hub.pulls import Pulls


class PullsControl:
    """Starts, lists and cancels downloads."""

    def __init__(self, pulls: Pulls) -> None:
        self._pulls = pulls
        self._running: set[asyncio.Task[Any]] = set()

    def repo(self, name: str) -> str:
        """Return the repository that `name` means, by which its model is called.

        Raises:
            InvalidRequest: `name` is not the name of a repository.
        """
        return reference.parse(name).repo

    def pull(self, name: str) -> BackgroundTask[control_api.PullReply]:
        """Download a model, or watch its running download.

        Raises:
            InvalidRequest: `name` is not the name of a repository, or another revision of it is
                being downloaded.
            Draining: the daemon is stopping.
            PullFailed: the models directory cannot be written.
        """
        pull = self._pulls.start(reference.parse(name))
        return BackgroundTask(pull.result(), lambda: pull.status, self._running)

    def list(self) -> control_api.PullList:
        """Return the downloads that are running, waiting or have failed."""
        return control_api.PullList(pulls=[pull.status for pull in self._pulls.pulls])

    async def cancel(self, name: str) -> control_api.CancelPullReply:
        """Cancel a download and remove its partial files.

        Raises:
            InvalidRequest: there is no download of that name.
        """
        repo = self.repo(name)
        return control_api.CancelPullReply(model=repo, bytes_removed=await self._pulls.cancel(repo))
