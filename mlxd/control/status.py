"""What is running, and where all files are."""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

from mlxd import __version__, control_api, paths
from mlxd.errors import ModelNotFound
from mlxd.models.catalog import Catalog
from mlxd.pool.model import Model, State
from mlxd.pool.pool import Pool

_UPDATE_SECONDS = 0.05
"""How long an engine may keep the reply waiting; a step of it may take longer."""


class StatusReporter:
    """Reports the status of the daemon that serves `url` and the Unix socket `socket_file`."""

    def __init__(
        self,
        catalog: Catalog,
        pool: Pool,
        *,
        url: str,
        socket_file: Path,
        network: Mapping[str, str] = {},
    ) -> None:
        self._catalog = catalog
        self._pool = pool
        self._url = url
        self._socket_file = socket_file
        self._network = dict(network)
        self._started = time.monotonic()

    async def read(self) -> control_api.Status:
        """Return what is running, and where all files are."""
        engines = [model.engine for model in self._pool.models if model.engine is not None]
        await asyncio.gather(*(engine.link.update(_UPDATE_SECONDS) for engine in engines))
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
            responses_dir=str(paths.responses_dir()),
            log=str(paths.log_file()),
            network=self._network,
            uptime_s=round(time.monotonic() - self._started, 3),
            default_model=default,
            default_fault=fault,
            silent_dirs=self._catalog.silent,
            memory_limit_bytes=self._pool.admission.limit,
            models=[
                model_status(model, self._pool.admission.waiting(model))
                for model in self._pool.models
            ],
        )


def model_status(model: Model, waiting: int = 0) -> control_api.ModelStatus:
    """Return what a model is doing; `waiting` is how many requests wait for memory for it."""
    last = model.crashes.last
    status = control_api.ModelStatus(
        id=model.entry.id,
        adapter=model.entry.adapter.name if model.entry.adapter else None,
        state=model.state,
        load_progress=round(model.load_progress, 3) if model.state is State.LOADING else None,
        pid=model.engine.pid if model.engine else None,
        requests=model.leases + waiting,
        queued=waiting + (model.engine.link.queued if model.engine else model.leases),
        expires_in_s=None if model.expires_in is None else round(model.expires_in, 3),
        pinned=model.pinned,
        cause=model.cause,
        crashes=model.crashes.count,
        last_crash=control_api.CrashReport(at=last.at, cause=last.cause, output=last.output)
        if last
        else None,
    )
    if model.engine is not None:
        link = model.engine.link
        status.memory_bytes = link.memory_bytes
        status.memory_limit_bytes = link.budget or None
        status.cache_bytes = link.cache_bytes
        status.prompt_cache_bytes = link.prompt_cache_bytes
        status.batched = link.batched
        status.kv_bits = link.kv_bits
        status.context_fits = link.context_fits
        status.tokens_per_second = round(link.tokens_per_second, 1)
    return status
