"""The models on disk, as a person looks at them."""

from mlxd.api import control
from mlxd.models.catalog import Catalog
from mlxd.models.model import State
from mlxd.models.pool import Pool

_LIVELINESS = (State.UNLOADED, State.FAILED, State.DRAINING, State.LOADING, State.READY)


class CatalogControl:
    """Shows the models on disk, and what they are doing."""

    def __init__(self, catalog: Catalog, pool: Pool) -> None:
        self._catalog = catalog
        self._pool = pool

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
