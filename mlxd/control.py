"""What `mlxctl` asks of the daemon: what runs, which models there are, which one is the default."""

import asyncio
import contextlib
import os
import time
from pathlib import Path

from mlxd import __version__, config, paths
from mlxd.api import control
from mlxd.errors import Draining, EngineDied, ModelNotFound
from mlxd.http.selection import Selection
from mlxd.models.catalog import Catalog
from mlxd.models.model import Model, State
from mlxd.models.pool import Pool

_MEMORY_ANSWER_SECONDS = 0.05
_LIVELINESS = (State.UNLOADED, State.FAILED, State.DRAINING, State.LOADING, State.READY)


class Control:
    """The answers of one daemon, which listens on `url` and on the Unix socket `socket_file`.

    `default_set_by` names what wins over settings.toml about the default model, if anything does.
    """

    def __init__(
        self,
        catalog: Catalog,
        selection: Selection,
        pool: Pool,
        *,
        url: str,
        socket_file: Path,
        default_set_by: str | None,
    ) -> None:
        self._catalog = catalog
        self._selection = selection
        self._pool = pool
        self._url = url
        self._socket_file = socket_file
        self._default_set_by = default_set_by
        self._started = time.monotonic()

    async def status(self) -> control.Status:
        """Give what runs, and where everything is."""
        await asyncio.gather(*(_refresh_memory(model) for model in self._pool.models))
        try:
            default, fault = self._catalog.resolve(None).id, None
        except ModelNotFound as error:
            default, fault = None, error.message
        return control.Status(
            running=True,
            stopping=self._pool.draining,
            pid=os.getpid(),
            version=__version__,
            url=self._url,
            socket=str(self._socket_file),
            config=str(paths.config_file()),
            settings=str(paths.settings_file()),
            models_dir=str(paths.models_dir()),
            adapters_dir=str(paths.adapters_dir()),
            log=str(paths.log_file()),
            uptime_s=round(time.monotonic() - self._started, 3),
            default_model=default,
            default_fault=fault,
            models=[_status_of(model) for model in self._pool.models],
        )

    def models(self) -> control.ModelList:
        """Give every model that can be asked for."""
        # With and without its adapters a model may be in several states: the liveliest is shown.
        by_life = sorted(self._pool.models, key=lambda model: _LIVELINESS.index(model.state))
        states = {model.entry.id: str(model.state) for model in by_life}
        default = self._catalog.default()
        return control.ModelList(
            models=[
                control.CatalogModel(
                    id=entry.id,
                    path=str(entry.path),
                    size_bytes=entry.size_bytes,
                    architecture=entry.architecture,
                    quantization=entry.quantization,
                    context_length=entry.context_length,
                    state=states.get(entry.id, "unloaded"),
                    default=default is not None and entry.id == default.id,
                )
                for entry in self._catalog.entries()
            ]
        )

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


def _status_of(model: Model) -> control.ModelStatus:
    return control.ModelStatus(
        id=model.entry.id,
        adapter=model.entry.adapter.name if model.entry.adapter else None,
        state=model.state,
        pid=model.engine.pid if model.engine else None,
        memory_bytes=model.engine.memory_bytes if model.engine else None,
        requests=model.leases,
        cause=model.cause,
    )


async def _refresh_memory(model: Model) -> None:
    """Ask an engine for its memory; one that is busy keeps the figure it had."""
    if model.engine is not None:
        with contextlib.suppress(TimeoutError, EngineDied):
            await model.engine.ping(_MEMORY_ANSWER_SECONDS)
