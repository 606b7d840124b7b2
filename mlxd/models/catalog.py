"""The models and adapters on disk: which there are, and which one a request means.

places         the folders that may be models; hub_cache reads the layout of one of them
folder         what one folder holds, by its weights, model_config and architectures
entry          what is found: models, broken ones, adapters
details        what else a person may want to know; adapters says which fit
removal        taking models off the disk
"""

import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from mlxd.config import ModelsConfig
from mlxd.errors import InvalidRequest, ModelNotFound
from mlxd.models.adapters import adapters
from mlxd.models.entry import Adapter, BrokenEntry, CatalogEntry, Origin, folder_name
from mlxd.models.folder import FolderReader, Place
from mlxd.models.hub_cache import snapshots
from mlxd.models.search_path import SearchPath

__all__ = ["DEFAULT_NAMES", "Adapter", "BrokenEntry", "Catalog", "CatalogEntry"]

DEFAULT_NAMES = ("", "default_model")
_NEAR_NAMES = 3
_MOST_NAMES = 8

_log = logging.getLogger("mlxd.models")


class Catalog:
    """The configured folders, the models directory and the hub's cache, looked at each time.

    What is unchanged is read once. What should be a model and is none is told with the reason, and
    never offered.
    """

    def __init__(self, config: ModelsConfig) -> None:
        self._config = config
        self._places = SearchPath(config.dirs)
        self._folders = FolderReader()
        self._remarks: set[str] = set()

    def entries(self) -> list[CatalogEntry]:
        """Give every model, by id; where two have the same id the first one counts."""
        found: dict[str, CatalogEntry] = {}
        for model in self._read(self._find()):
            if isinstance(model, CatalogEntry):
                found.setdefault(model.id, model)
            elif not model.stray:
                self._remark(model.path, model.fault)
        return sorted(found.values(), key=lambda entry: entry.id)

    def broken(self) -> list[BrokenEntry]:
        """Give what should be a model and is none, by id.

        In the models directory that is everything; elsewhere there may be things for others.
        """
        found = (model for model in self._read(self._find()) if isinstance(model, BrokenEntry))
        shown = (model for model in found if _own(model) or not model.stray)
        return sorted(shown, key=lambda model: (model.id, model.path))

    @property
    def aliases(self) -> Mapping[str, str]:
        """What each alias stands for: an id, or the name of a folder."""
        return self._config.aliases

    def aliases_of(self, model_id: str) -> list[str]:
        """Give the aliases of the model with that id, broken or not."""
        return sorted(alias for alias in self._config.aliases if self._means(alias, model_id))

    def set_aliases(self, aliases: dict[str, str]) -> None:
        """Make `aliases` the other names of models."""
        self._config = msgspec.structs.replace(self._config, aliases=aliases)

    def set_default(self, name: str) -> None:
        """Make `name` the model that a request means which names none."""
        self._config = msgspec.structs.replace(self._config, default=name)

    def was_chosen(self, model_id: str) -> bool:
        """Whether the model with that id is the default because it was set, not as the only one."""
        return self._means(self._config.default, model_id)

    def default(self) -> CatalogEntry | None:
        """Give the model that a request means which names none; None when that is not clear."""
        try:
            return self.resolve(None)
        except ModelNotFound:
            return None

    def resolve(self, name: str | None) -> CatalogEntry:
        """Give the model that `name` means: an id, an alias, a folder's name, or no name.

        No name means the default: the configured one, or the only one there is, those in the hub's
        cache counting only where there is no other.

        Raises:
            ModelNotFound: it is broken, and why; or there is none of that name, with the near ones;
                or there are several, or none at all.
        """
        if name is None or name in DEFAULT_NAMES:
            return self._default(self._config.default)
        model = self.find(name)
        if isinstance(model, BrokenEntry):
            raise ModelNotFound(f"model {model.id!r} is broken: {model.fault}", param="model")
        return model

    def find(self, name: str) -> CatalogEntry | BrokenEntry:
        """Give the model that `name` means, broken or not, the whole ones first.

        Raises:
            ModelNotFound: as `resolve` does.
        """
        found = self._named(name)
        best = [model for model in found if isinstance(model, CatalogEntry)] or found
        if not best:
            raise self._unknown(name)
        return _only(name, best)

    def find_own(self, name: str) -> CatalogEntry | BrokenEntry:
        """Give the model that `name` means, broken or not, the one in the models directory first.

        Raises:
            ModelNotFound: as `resolve` does.
        """
        own = [model for model in self._named(name) if _own(model)]
        return _only(name, own) if own else self.find(name)

    def adapter(self, name: str) -> Adapter:
        """Give the adapter `name`, which is never a path.

        Raises:
            InvalidRequest: there is none of that name; says which there are.
        """
        there = {adapter.name: adapter for adapter in adapters()}
        if (adapter := there.get(name)) is not None:
            return adapter
        allowed = f"there is {', '.join(there)}" if there else "none is installed"
        raise InvalidRequest(f"adapter {name!r} does not exist; {allowed}", param="adapters")

    def _means(self, name: str, model_id: str) -> bool:
        try:
            return self.find(name).id == model_id
        except ModelNotFound:
            return False

    def _default(self, name: str) -> CatalogEntry:
        if name:
            return self.resolve(name)
        entries = self.entries()
        if not entries:
            raise _nothing_installed()
        own = [entry for entry in entries if entry.origin is not Origin.HUB_CACHE]
        for only in (own, entries):
            if len(only) == 1:
                return only[0]
        raise ModelNotFound(
            f"no default model is set: name one of {_listed(entry.id for entry in entries)}, "
            "or set it with `mlxctl use MODEL`",
            param="model",
        )

    def _named(self, name: str) -> list[CatalogEntry | BrokenEntry]:
        """Give what `name` is the id of, or an alias of, or the name of the folder of."""
        places = list(self._find())
        meant = self._config.aliases.get(name, name)
        for wanted in dict.fromkeys((name, meant)):
            if exact := list(self._read(place for place in places if place.id == wanted)):
                return exact
        return list(self._read(place for place in places if folder_name(place.id) == meant))

    def _unknown(self, name: str) -> ModelNotFound:
        if not (entries := self.entries()):
            return _nothing_installed()
        names = [*(entry.id for entry in entries), *self._config.aliases]
        near = difflib.get_close_matches(name, names, _NEAR_NAMES)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there is {_listed(names)}"
        return ModelNotFound(f"model {name!r} does not exist; {hint}", param="model")

    def _find(self) -> Iterator[Place]:
        for place in self._places.find():
            if place.id.isprintable():
                yield place
            else:
                self._remark(place.folder, "its name is not UTF-8, or cannot be printed")

    def _read(self, places: Iterable[Place]) -> Iterator[CatalogEntry | BrokenEntry]:
        for place in places:
            if place.origin is Origin.HUB_CACHE:
                model = self._revision(place)
            else:
                model = self._folders.read(place)
            if model is not None:
                yield model

    def _revision(self, place: Place) -> CatalogEntry | BrokenEntry | None:
        """Give the first revision of a repository that is whole, or else the most promising one."""
        broken: list[BrokenEntry] = []
        for folder in snapshots(place.folder):
            model = self._folders.read(Place(place.id, folder, place.origin))
            if isinstance(model, CatalogEntry):
                return model
            broken += [model] if model else []
        return min(broken, key=lambda model: model.stray, default=None)

    def _remark(self, folder: object, fault: str) -> None:
        """Log, once, why `folder` is no model."""
        remark = f"{str(folder)!r} is left out: {fault}"
        if remark not in self._remarks:
            self._remarks.add(remark)
            _log.warning("%s", remark)


def _own(model: CatalogEntry | BrokenEntry) -> bool:
    return model.origin is Origin.MODELS_DIR


def _only(
    name: str, models: list[CatalogEntry] | list[BrokenEntry] | list[CatalogEntry | BrokenEntry]
) -> CatalogEntry | BrokenEntry:
    """Give the first of `models` where all have one id.

    Raises:
        ModelNotFound: they have not.
    """
    ids = dict.fromkeys(model.id for model in models)
    if len(ids) > 1:
        raise ModelNotFound(f"{name!r} may mean {' or '.join(ids)}: name one", param="model")
    return models[0]


def _nothing_installed() -> ModelNotFound:
    return ModelNotFound(
        "no model is installed: add one with `mlxctl pull OWNER/NAME` or `mlxctl import FILE.gguf`",
        param="model",
    )


def _listed(names: Iterable[str]) -> str:
    (*first,) = names
    more = len(first) - _MOST_NAMES
    return ", ".join(first[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
