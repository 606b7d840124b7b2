"""Bringing models into memory and out of it, and choosing the default one."""

import asyncio
from collections.abc import Callable
from typing import Any

from mlxd import config, control_api
from mlxd.control.background import BackgroundTask
from mlxd.control.status import model_status
from mlxd.errors import Draining, MlxdError
from mlxd.models.catalog import Catalog, CatalogEntry
from mlxd.models.selection import Selection
from mlxd.pool.model import Model, State
from mlxd.pool.pool import Pool


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
        self._switching = asyncio.Lock()
        self._works: set[asyncio.Task[Any]] = set()

    def load(
        self, name: str | None, keep_alive: float | None
    ) -> BackgroundTask[control_api.ModelStatus]:
        """Bring a model into memory, even one that has crashed too often.

        `keep_alive` is for how many seconds it stays there unused, -1 for ever; None is as usual.

        Raises:
            Draining: the daemon is stopping.
            ModelNotFound: there is no such model.
            LoadFailed: its configured adapter does not exist.
        """
        model = self._model(self._selection.model(name))

        async def load() -> control_api.ModelStatus:
            async with self._pool.lease(model.entry, keep_alive):
                pass
            return model_status(model)

        return BackgroundTask(load(), _progress(model), self._works)

    def unload(self, name: str | None) -> BackgroundTask[control_api.UnloadReply]:
        """Take a model out of memory, once its requests have ended; without a name every model.

        Raises:
            ModelNotFound: there is no such model.
        """
        wanted = None if name is None else self._catalog.resolve(name).id
        models = [
            model
            for model in self._pool.models
            if model.resident and wanted in (None, model.entry.id)
        ]

        async def unload() -> control_api.UnloadReply:
            await asyncio.gather(*map(self._pool.admission.unload, models))
            return control_api.UnloadReply(models=[model.entry.id for model in models])

        def progress() -> control_api.Progress:
            requests = sum(model.leases for model in models)
            names = ", ".join(model.entry.name for model in models)
            return control_api.Progress(status="draining", model=names, requests=requests)

        return BackgroundTask(unload(), progress, self._works)

    def use(self, name: str, *, drained: bool = False) -> BackgroundTask[control_api.UseReply]:
        """Make a model the default, now and after a restart, once it is in memory.

        The one that was the default finishes what it has; with `drained` that is waited for. Where
        both do not fit, it makes room, and requests for the default wait meanwhile. When anything
        goes wrong the default is what it was.

        Raises:
            Draining: the daemon is stopping.
            ModelNotFound: there is no such model.
            LoadFailed: its configured adapter does not exist.
        """
        model = self._model(self._selection.model(name))

        async def use() -> control_api.UseReply:
            async with self._switching:
                old = self._default_model()
                await self._switch(model, old)
            if drained and old is not None and old is not model:
                await old.idle()
            return control_api.UseReply(
                model=model.entry.id, state=model.state, overridden_by=self._default_set_by
            )

        return BackgroundTask(use(), _progress(model), self._works)

    async def _switch(self, model: Model, old: Model | None) -> None:
        at_once = old is None or not old.resident or self._pool.admission.must_unload(old, model)
        if at_once:
            self._catalog.expect_default(model.entry.id)
        try:
            async with self._pool.lease(model.entry):
                config.write_settings({"models.default": model.entry.id})
                self._catalog.set_default(model.entry.id)
        finally:
            self._catalog.expect_default("")

    def _model(self, entry: CatalogEntry) -> Model:
        if self._pool.draining:
            raise Draining("the daemon is stopping: ask again once it has started")
        model = self._pool.model(entry)
        model.crashes.forgive()
        return model

    def _default_model(self) -> Model | None:
        try:
            return self._pool.model(self._selection.model(None))
        except MlxdError:
            return None


def _progress(model: Model) -> Callable[[], control_api.Progress]:
    def progress() -> control_api.Progress:
        name = model.entry.name
        if model.state is State.LOADING:
            return control_api.Progress(status="loading", model=name, fraction=model.load_progress)
        if model.state is State.READY:
            return control_api.Progress(status="ready", model=name, fraction=1.0)
        return control_api.Progress(status="waiting", model=name)

    return progress
