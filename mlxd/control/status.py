"""What is running, and where all files are."""

import asyncio
import contextlib
import os
import time
from pathlib import Path

from mlxd import __version__, control_api, paths
from mlxd.errors import EngineDied, ModelNotFound
from mlxd.models.catalog import Catalog
from mlxd.pool.model import Model, State
from mlxd.pool.pool import Pool

_MEMORY_SECONDS = 0.05


class StatusReporter:
    """Reports the status of the daemon that serves `url` and the Unix socket `socket_file`."""

    def __init__(self, catalog: Catalog, pool: Pool, *, url: str, socket_file: Path) -> None:
        self._catalog = catalog
        self._pool = pool
        self._url = url
        self._socket_file = socket_file
        self._started = time.monotonic()

    async def read(self) -> control_api.Status:
        """Return what is running, and where all files are."""
        await asyncio.gather(*(_refresh_memory(model) for model in self._pool.models))
        try:
            default, fault = self._catalog.resolve(None).id, None
        except ModelNotFound as error:
            default, fault = None, error.message
        return control_api.Status(
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
            cache_dir=str(paths.cache_dir()),
            log=str(paths.log_file()),
            uptime_s=round(time.monotonic() - self._started, 3),
            default_model=default,
            default_fault=fault,
            memory_limit_bytes=self._pool.admission.limit,
            models=[model_status(model) for model in self._pool.models],
        )


def model_status(model: Model) -> control_api.ModelStatus:
    """Return what a model is doing."""
    last = model.crashes.last
    return control_api.ModelStatus(
        id=model.entry.id,
        adapter=model.entry.adapter.name if model.entry.adapter else None,
        state=model.state,
        load_progress=round(model.load_progress, 3) if model.state is State.LOADING else None,
        pid=model.engine.pid if model.engine else None,
        memory_bytes=model.engine.link.memory_bytes if model.engine else None,
        requests=model.leases,
        tokens_per_second=round(model.engine.link.tokens_per_second, 1) if model.engine else None,
        expires_in_s=None if model.expires_in is None else round(model.expires_in, 3),
        pinned=model.pinned,
        cause=model.cause,
        crashes=model.crashes.count,
        last_crash=control_api.CrashReport(at=last.at, cause=last.cause, output=last.output)
        if last
        else None,
    )


async def _refresh_memory(model: Model) -> None:
    """Ask an engine for its memory; the last known value stays if it is too busy to answer."""
    if model.engine is not None:
        with contextlib.suppress(TimeoutError, EngineDied):
            await model.engine.link.ping(_MEMORY_SECONDS)
