"""Bringing models into memory, and choosing the default one."""

from mlxd import config
from mlxd.api import control
from mlxd.errors import Draining
from mlxd.http.selection import Selection
from mlxd.models.catalog import Catalog
from mlxd.models.model import State
from mlxd.models.pool import Pool


class MemoryControl:
    """Moves models between disk and memory.

    `default_set_by` names what wins over settings.toml about the default model, if anything does.
    """

    def __init__(
        self, catalog: Catalog, selection: Selection, pool: Pool, default_set_by: str | None
    ) -> None:
        self._catalog = catalog
        self._selection = selection
        self._pool = pool
        self._default_set_by = default_set_by

    async def use(self, name: str) -> control.UseReply:
        """Make a model the default, now and after a restart, and start to load it.

        Raises:
            Draining: the daemon is stopping, and nothing was changed.
            ModelNotFound: there is no such model, and nothing was changed.
            LoadFailed: its configured adapter does not exist, and nothing was changed.
            ConfigError: settings.toml cannot be written, and nothing was changed.
        """
        if self._pool.draining:
            raise Draining("the daemon is stopping: choose a model once it has started again")
        entry = self._selection.model(name)
        config.write_settings({"models.default": entry.id})
        self._catalog.set_default(entry.id)
        self._pool.preload(entry)
        ready = self._pool.model(entry).state is State.READY
        return control.UseReply(
            model=entry.id,
            state=State.READY if ready else State.LOADING,
            overridden_by=self._default_set_by,
        )
