"""The models on disk, as a person looks at them and removes them."""

import asyncio

from mlxd import control_api
from mlxd.errors import ModelInUse
from mlxd.models import removal
from mlxd.models.catalog import BrokenEntry, Catalog, CatalogEntry
from mlxd.models.details import read_details
from mlxd.pool.model import State
from mlxd.pool.pool import Pool

_LIVELINESS = (State.UNLOADED, State.FAILED, State.DRAINING, State.LOADING, State.READY)


class CatalogControl:
    """Shows the models on disk, and what they are doing."""

    def __init__(self, catalog: Catalog, pool: Pool) -> None:
        self._catalog = catalog
        self._pool = pool

    def models(self) -> control_api.ModelListing:
        """Give every model that can be asked for, and what is broken."""
        states = self._states()
        default = self._default()
        return control_api.ModelListing(
            models=[
                control_api.CatalogModel(
                    id=entry.id,
                    path=str(entry.path),
                    origin=entry.origin,
                    size_bytes=entry.size_bytes,
                    architecture=entry.architecture,
                    quantization=entry.quantization,
                    context_length=entry.context_length,
                    state=states.get(entry.id, State.UNLOADED),
                    default=entry.id == default,
                )
                for entry in self._catalog.entries()
            ],
            broken=[
                control_api.BrokenModel(
                    id=broken.id,
                    path=str(broken.path),
                    origin=broken.origin,
                    size_bytes=broken.size_bytes,
                    fault=broken.fault,
                )
                for broken in self._catalog.broken()
            ],
        )

    async def show(self, name: str) -> control_api.ModelDetails:
        """Give what there is to know of a model, broken or not.

        Raises:
            ModelNotFound: there is no such model.
        """
        model = self._catalog.find(name)
        shown = control_api.ModelDetails(
            id=model.id,
            path=str(model.path),
            origin=model.origin,
            size_bytes=model.size_bytes,
            created=model.created,
            aliases=self._catalog.aliases_of(model.id),
        )
        if isinstance(model, BrokenEntry):
            shown.fault = model.fault
            return shown
        details = await asyncio.to_thread(read_details, model)
        shown.state = self._states().get(model.id, State.UNLOADED)
        shown.default = model.id == self._default()
        shown.architecture = model.architecture
        shown.parameters = details.parameters
        shown.quantization = model.quantization
        shown.context_length = model.context_length
        shown.memory_bytes = model.memory_bytes
        shown.cache_bytes = model.cache_bytes
        shown.cached_tokens = model.cached_tokens
        if template := details.template:
            shown.template = control_api.TemplateSupport(
                tools=template.tools, thinking=template.thinking
            )
        shown.license = details.license
        shown.adapters = details.adapters
        return shown

    async def remove(self, name: str, *, dry_run: bool) -> control_api.Removal:
        """Remove a model, broken or not, from the models directory; with `dry_run` only say what.

        Raises:
            ModelNotFound: there is no such model.
            NotRemovable: it is not ours to remove, or the file system refuses.
            ModelInUse: it is in memory, or requests wait for it.
        """
        model = self._catalog.find_own(name)
        removal.check_removable(model)
        if isinstance(model, CatalogEntry):
            self._check_unused(model)
        removed = control_api.Removal(
            id=model.id,
            path=str(model.path),
            size_bytes=model.size_bytes,
            link=model.path.is_symlink(),
            default=self._catalog.was_chosen(model.id),
            aliases=self._catalog.aliases_of(model.id),
        )
        if not dry_run:
            # In one go with the check: nobody who comes after it finds the model any more.
            aside = removal.put_aside(model.path)
            await asyncio.to_thread(removal.delete, aside)
        return removed

    def _check_unused(self, entry: CatalogEntry) -> None:
        for model in self._pool.models:
            awaited = self._pool.admission.has_waiters(model)
            if model.entry.id == entry.id and (model.resident or awaited):
                why = "requests wait for it" if awaited else model.state
                raise ModelInUse(f"{entry.id} is in use ({why}); first: mlxctl unload {entry.id}")

    def _states(self) -> dict[str, State]:
        # With and without its adapters a model may be in several states: the liveliest is shown.
        by_life = sorted(self._pool.models, key=lambda model: _LIVELINESS.index(model.state))
        return {model.entry.id: model.state for model in by_life}

    def _default(self) -> str | None:
        default = self._catalog.default()
        return default.id if default else None
