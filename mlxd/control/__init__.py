"""What the control endpoints do, one module per subject.

The methods raise `ModelNotFound` for a name that no model has, and the errors that they name. While
the daemon is stopping, those that load or download something raise `Draining`.

status        what is running, and where all files are
catalog       the models on disk
aliases       their aliases
loading       the models in memory, and the default model
log           the end of the log
pulls         downloads from the hub
prompt_cache  the prompt cache on disk
background    tasks that go on when their client disconnects
"""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from mlxd import paths
from mlxd.activity import Activity
from mlxd.control.aliases import AliasControl
from mlxd.control.catalog import CatalogControl
from mlxd.control.loading import LoadingControl
from mlxd.control.log import LogReader
from mlxd.control.prompt_cache import PromptCacheControl
from mlxd.control.pulls import PullsControl
from mlxd.control.status import StatusReporter
from mlxd.control_api import ReloadReply
from mlxd.errors import LoadFailed
from mlxd.hub.pulls import Pulls
from mlxd.models.catalog import Catalog
from mlxd.models.selection import Selection
from mlxd.page_api import PageToken
from mlxd.pool.pool import Pool


class Control:
    """All subjects of the daemon that serves `url` and the Unix socket `socket_file`.

    `prompt_cache_disk` is how many bytes the prompt cache may take on disk; `network` has the
    variables with which the hub is reached, without secrets. `reload` reads the configuration
    again, and raises ConfigError; `activity` returns what happens, of the whole `hour` or less.
    `page_token` returns the key that `mlxctl open` gives the page.
    """

    def __init__(
        self,
        catalog: Catalog,
        selection: Selection,
        pool: Pool,
        pulls: Pulls,
        *,
        url: str,
        socket_file: Path,
        network: Mapping[str, str],
        prompt_cache_disk: int,
        reload: Callable[[], Awaitable[ReloadReply]],
        activity: Callable[..., Activity],
        page_token: Callable[[], str],
        default_set_by: str | None = None,
    ) -> None:
        self.reload = reload
        self.activity = activity
        self._page_token = page_token
        self._catalog = catalog
        self.status = StatusReporter(
            catalog, pool, url=url, socket_file=socket_file, network=network
        )
        self.catalog = CatalogControl(catalog, pool)
        self.aliases = AliasControl(catalog)
        self.loading = LoadingControl(catalog, selection, pool, default_set_by)
        self.pulls = PullsControl(pulls)
        self.prompt_cache = PromptCacheControl(catalog, paths.prompts_dir(), prompt_cache_disk)
        self.log = LogReader(paths.log_file())

    def open_page(self) -> PageToken:
        """Return the token of this run of the daemon."""
        return PageToken(token=self._page_token())

    async def refresh(self, name: str | None = None) -> None:
        """Look at the models on disk, if it answers; what was found before counts otherwise.

        `name` is the model that matters, if it is one.
        """
        with contextlib.suppress(LoadFailed):
            await self._catalog.refresh(name)
