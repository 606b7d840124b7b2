"""Engines for models, as the configuration says, and a spare one for the next model."""

import asyncio
import logging
from collections.abc import Callable

from mlxd import paths
from mlxd.config import Config
from mlxd.errors import LoadFailed
from mlxd.messages import DiskCacheSettings, Load
from mlxd.models.catalog import CatalogEntry
from mlxd.pool.engine_process import EngineProcess, engine_command

_log = logging.getLogger("mlxd.models")


class EngineLauncher:
    """Starts engines for models.

    With `engine.spare`, one engine has imported what it needs and waits for the next model.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.spare: EngineProcess | None = None
        self._spawning: asyncio.Task[None] | None = None
        self._closed = False

    def configure(self, config: Config) -> None:
        """Take a changed configuration, for the engines to come."""
        self._config = config

    async def launch(self, entry: CatalogEntry, report: Callable[[float], None]) -> EngineProcess:
        """Return an engine that has loaded `entry`; `report` and errors are as in its `load`."""
        spare, self.spare = self.spare, None
        engine = spare if spare is not None and spare.link.alive else await self._start()
        settings = self._config.engine_for(entry.id)
        load = Load(
            path=str(entry.path),
            adapter_path=str(entry.adapter.path) if entry.adapter else None,
            decode_concurrency=settings.decode_concurrency,
            prompt_concurrency=settings.prompt_concurrency,
            prefill_step_size=settings.prefill_step_size,
            prompt_cache_bytes=settings.prompt_cache,
            trust_remote_code=settings.trust_remote_code,
            wired=settings.wired,
            disk_cache=self._disk_cache(entry),
            kv_bits=settings.kv_bits,
            kv_group_size=settings.kv_group_size,
            quantized_kv_start=settings.quantized_kv_start,
            hang_timeout=settings.hang_timeout,
        )
        await engine.load(entry.name, load, report)
        return engine

    def _disk_cache(self, entry: CatalogEntry) -> DiskCacheSettings | None:
        settings = self._config.engine
        if not settings.prompt_cache or not settings.prompt_cache_disk:
            return None
        return DiskCacheSettings(
            folder=str(paths.prompts_dir()),
            max_bytes=settings.prompt_cache_disk,
            keep_free=settings.prompt_cache_keep_free,
            model=entry.id,
            adapter=entry.adapter.name if entry.adapter else None,
        )

    def keep_spare(self) -> None:
        """Start a spare engine if one is configured and there is none."""
        waits = self.spare is not None and self.spare.link.alive
        spawning = self._spawning is not None and not self._spawning.done()
        if self._config.engine.spare and not (waits or spawning or self._closed):
            self._spawning = asyncio.get_running_loop().create_task(self._spawn())

    async def close(self) -> None:
        """Stop the spare engine, and start none from now on."""
        self._closed = True
        if self._spawning is not None:
            self._spawning.cancel()
            await asyncio.wait([self._spawning])
        if self.spare is not None:
            await self.spare.stop(grace=0)

    async def _start(self) -> EngineProcess:
        command = engine_command(confined=self._config.engine.sandbox)
        return await EngineProcess.spawn(command)

    async def _spawn(self) -> None:
        try:
            self.spare = await self._start()
        except LoadFailed as error:
            _log.warning("cannot start a spare engine: %s", error.message)
