"""What `mlxctl top` shows, and how it asks the daemon for that."""

import msgspec

from mlxctl.client import Client, is_running
from mlxctl.errors import NotRunning
from mlxd import config
from mlxd.activity import Activity
from mlxd.control_api import ACTIVITY, LIST_PULLS, STATUS, PullStatus, Status

_PATIENCE_SECONDS = 2.0  # for which keys are not looked at


class Overview(msgspec.Struct, kw_only=True):
    """What `mlxctl top --json` prints: the replies of three control endpoints."""

    status: Status
    activity: Activity
    pulls: list[PullStatus]


class Asker:
    """Asks the daemon of this home, which may stop and come back, even with another socket."""

    def __init__(self) -> None:
        self._client: Client | None = None

    def ask(self, *, hour: bool = False) -> Overview:
        """Return what happens, with the history of the last two minutes or of the last `hour`.

        If launchd or systemd would start the daemon for a connection, this does not connect.

        Raises:
            NotRunning: no daemon runs.
            MlxdError: it does not answer, or the configuration is not valid.
        """
        if not is_running():
            self._client = None
            raise NotRunning
        if self._client is None:
            self._client = Client(
                config.load().socket_file(), warn=False, patience=_PATIENCE_SECONDS
            )
        return Overview(
            status=self._client.call(STATUS),
            activity=self._client.call(ACTIVITY, hour=hour),
            pulls=self._client.call(LIST_PULLS).pulls,
        )
