"""The models on disk: listed, shown and removed."""

import asyncio

import msgspec

from mlxd import control_api, paths, prompt_files
from mlxd.errors import ModelInUse
from mlxd.models import removal
from mlxd.models.cache_layout import CacheLayout
from mlxd.models.catalog import BrokenEntry, Catalog, CatalogEntry
from mlxd.models.details import read_details
from mlxd.models.model_config import UNBATCHED
from mlxd.pool.model import Model, State
from mlxd.pool.pool import Pool

_LIVELINESS = (State.UNLOADED, State.FAILED, State.DRAINING, State.LOADING, State.READY)


class CatalogControl:
    """Lists, shows and removes the models on disk."""

    def __init__(self, catalog: Catalog, pool: Pool) -> None:
        self._catalog = catalog
        self._pool = pool

    def models(self) -> control_api.ModelListing:
        """Return all models on disk: those that can be served, and broken ones."""
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

    async def show(self, model: str) -> control_api.ModelDetails:
        """Return all facts about a model, broken or not."""
        entry = self._catalog.find(model)
        shown = control_api.ModelDetails(
            id=entry.id,
            path=str(entry.path),
            origin=entry.origin,
            size_bytes=entry.size_bytes,
            created=entry.created,
            aliases=self._catalog.aliases_of(entry.id),
        )
        if isinstance(entry, BrokenEntry):
            shown.fault = entry.fault
            return shown
        details = await asyncio.to_thread(read_details, entry)
        shown.state = self._states().get(entry.id, State.UNLOADED)
        shown.default = entry.id == self._default()
        shown.architecture = entry.architecture
        shown.parameters = details.parameters
        shown.quantization = entry.quantization
        shown.context_length = entry.context_length
        shown.memory_bytes = entry.memory_bytes
        shown.cache_bytes = entry.cache_bytes
        shown.cached_tokens = entry.cached_tokens
        shown.token_bytes = details.cache.token_bytes
        self._add_limits(shown, entry, details.cache)
        shown.template = details.template
        shown.license = details.license
        shown.own_sampling = msgspec.to_builtins(entry.sampling)
        defaults = msgspec.structs.asdict(self._pool.generation_settings(entry))
        shown.sampling = {name: value for name, value in defaults.items() if value is not None}
        shown.adapters = details.adapters
        return shown

    def _add_limits(
        self, shown: control_api.ModelDetails, entry: CatalogEntry, cache: CacheLayout
    ) -> None:
        """Add what the engine says it can do, or without one, what can be told beforehand."""
        models = [model for model in self._by_life() if model.entry.id == entry.id]
        if models and models[-1].engine is not None:
            link = models[-1].engine.link
            shown.context_fits, shown.batched = link.context_fits, link.batched
            shown.kv_bits = link.kv_bits
            return
        settings = self._pool.engine_settings(entry)
        shown.kv_bits = settings.kv_bits
        if settings.kv_bits:
            cache = cache.quantized(settings.kv_bits, settings.kv_group_size)
        if entry.context_length is not None:
            room = self._pool.admission.room(entry)
            shown.context_fits = cache.longest(room, entry.context_length)
        if entry.architecture in UNBATCHED:
            shown.batched = False

    async def remove(self, model: str, *, dry_run: bool) -> control_api.Removal:
        """Remove a model, broken or not, from the models directory; with `dry_run`, only check.

        Its prompts on disk go too, unless another model of that ID takes its place.

        Raises NotRemovable, or ModelInUse if it is in memory or requests wait for it.
        """
        entry = self._catalog.find_own(model)
        removal.check_removable(entry)
        if isinstance(entry, CatalogEntry):
            self._check_unused(entry)
        removed = control_api.Removal(
            id=entry.id,
            path=str(entry.path),
            size_bytes=entry.size_bytes,
            link=entry.path.is_symlink(),
            default=self._catalog.was_chosen(entry.id),
            aliases=self._catalog.aliases_of(entry.id),
        )
        if not dry_run:
            # Without an await since the check, so that no request can find the model in between.
            aside = removal.put_aside(entry.path)
            await asyncio.to_thread(removal.delete, aside)
            if all(left.id != entry.id for left in self._catalog.entries()):
                await asyncio.to_thread(prompt_files.remove_all_of, paths.prompts_dir(), entry.id)
        return removed

    def _check_unused(self, entry: CatalogEntry) -> None:
        for model in self._pool.models:
            awaited = self._pool.admission.has_waiters(model)
            if model.entry.id == entry.id and (model.resident or awaited):
                why = "has waiting requests" if awaited else "is in memory"
                raise ModelInUse(f"{entry.id} {why}; unload it first: mlxctl unload {entry.id}")

    def _states(self) -> dict[str, State]:
        # With different adapters, a model may be in several states at once: show the liveliest.
        return {model.entry.id: model.state for model in self._by_life()}

    def _by_life(self) -> list[Model]:
        """Return the models that were requested, the liveliest last."""
        return sorted(self._pool.models, key=lambda model: _LIVELINESS.index(model.state))

    def _default(self) -> str | None:
        default = self._catalog.default()
        return default.id if default else None
