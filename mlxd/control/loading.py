"""Loading and unloading models, and choosing the default model."""

import asyncio
import contextlib
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


class LoadingControl:
    """Loads and unloads models; a configured adapter that does not exist raises `LoadFailed`.

    `default_set_by` names the flag or variable that overrides the default model in settings.toml.
    """

    def __init__(
        self, catalog: Catalog, selection: Selection, pool: Pool, default_set_by: str | None
    ) -> None:
        self._catalog = catalog
        self._selection = selection
        self._pool = pool
        self._default_set_by = default_set_by
        self._switch = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()

    def load(
        self, name: str | None, keep_alive: float | None
    ) -> BackgroundTask[control_api.ModelStatus]:
        """Load a model, even one that has crashed too often.

        `keep_alive` is for how many seconds it stays in memory unused: -1 for ever, None for the
        configured time.
        """
        named = self._model(self._selection.model(name))

        async def load() -> control_api.ModelStatus:
            model = self._model(await self._selection.settled_model(name))
            async with self._pool.lease(model.entry, keep_alive):
                pass
            return model_status(model)

        return BackgroundTask(load(), _progress(named), self._running)

    def unload(self, name: str | None) -> BackgroundTask[control_api.UnloadReply]:
        """Unload a model once its requests have ended; without a name, every model."""
        wanted = None if name is None else self._catalog.resolve(name).id
        resident = [model for model in self._pool.models if model.resident]
        models = [model for model in resident if wanted in (None, model.entry.id)]

        async def unload() -> control_api.UnloadReply:
            await asyncio.gather(*map(self._pool.admission.unload, models))
            return control_api.UnloadReply(models=[model.entry.id for model in models])

        def progress() -> control_api.Progress:
            requests = sum(model.leases for model in models)
            names = ", ".join(model.entry.name for model in models)
            return control_api.Progress(status="draining", model=names, requests=requests)

        return BackgroundTask(unload(), progress, self._running)

    async def release(self, name: str) -> None:
        """Unload a model once it is no longer in use; new requests do not wait for that."""
        wanted = self._catalog.resolve(name).id
        models = [each for each in self._pool.models if each.resident and each.entry.id == wanted]
        for model in models:
            model.keep(0.0)
        unused = [model for model in models if not model.leases]
        await asyncio.gather(*map(self._pool.admission.unload, unused))

    def use(self, name: str, *, wait: bool = False) -> BackgroundTask[control_api.UseReply]:
        """Make a model the default, now and after a restart, once it is in memory.

        The old default finishes its requests; `wait` waits for them too. If both do not fit in
        memory, the old one is unloaded first, and new requests for the default wait for the end of
        the switch. If the model cannot be loaded, the default stays.
        """
        model = self._model(self._selection.model(name))

        async def use() -> control_api.UseReply:
            async with self._switch:
                old = self._default_model()
                async with self._requests_held(old, model), self._pool.lease(model.entry):
                    config.write_settings({"models.default": model.entry.id})
                    self._catalog.set_default(model.entry.id)
            if wait and old is not None and old is not model:
                await old.idle.wait()
            return control_api.UseReply(
                model=model.entry.id, state=model.state, overridden_by=self._default_set_by
            )

        return BackgroundTask(use(), _progress(model), self._running)

    def _requests_held(
        self, old: Model | None, new: Model
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """Hold requests for the default, unless `old` can answer them while `new` is loaded."""
        if old is None or not old.resident or self._pool.admission.must_unload(old, new):
            return self._selection.default_lock
        return contextlib.nullcontext()

    def _model(self, entry: CatalogEntry) -> Model:
        if self._pool.draining:
            raise Draining("the daemon is stopping; try again once it has restarted")
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
        known = {State.LOADING: ("loading", model.load_progress), State.READY: ("ready", 1.0)}
        status, fraction = known.get(model.state, ("waiting", None))
        return control_api.Progress(status=status, model=model.entry.name, fraction=fraction)

    return progress
