"""The models and adapters on disk, and which one a name means."""

import difflib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from mlxd.config import ModelsConfig
from mlxd.config.keys import PER_MODEL, dotted
from mlxd.errors import InvalidRequest, ModelNotFound
from mlxd.models.adapters import Adapter, adapters
from mlxd.models.entry import BrokenEntry, CatalogEntry, Origin
from mlxd.models.hub_address import NoModelAddress, read_address
from mlxd.models.names import has_revision, is_path, matches
from mlxd.models.roots import Roots, View
from mlxd.models.scanning import Scanner

__all__ = ["DEFAULT_NAMES", "Adapter", "BrokenEntry", "Catalog", "CatalogEntry"]

DEFAULT_NAMES = ("", "default_model")
_NEAR_NAMES = 3
_MOST_NAMES = 8
_LONGEST_NEAR = 100
_LONGEST_NAME = 4096  # of a path
_LOOKUP_SECONDS = 5.0
_MOST_LOOKUPS = 64

_log = logging.getLogger("mlxd.models")


class Catalog:
    """The models of the search path, as they are at each call, or at the last `refresh`.

    A folder is read again only if it has changed. Broken models are listed with the reason, and
    never served. So are those that need Python code of their own, unless the configuration `trusts`
    the model with that id.
    """

    def __init__(self, config: ModelsConfig, trusts: Callable[[str], bool] | None = None) -> None:
        self._config = config
        self._trusts = trusts or (lambda _model_id: False)
        self._roots = Roots(config.dirs)
        self._logged: set[tuple[Path, str]] = set()
        self._asked: dict[str, None] = {}
        self._looked_up: dict[str, frozenset[Path]] = {}
        self._lookups = Scanner(self._look_up, self._take_lookups, "a folder that a request names")

    async def refresh(self, name: str | None = None, *, sure: bool = False) -> None:
        """Look at the disk, in threads; from now on, methods tell what was found there.

        While a disk is slow, or the daemon busy, what was last found may be used instead, unless
        no model is called `name`, or it must be `sure`. Raises LoadFailed if nothing was found yet.
        """
        known = not sure and (name in (None, *DEFAULT_NAMES) or self._knows(name))
        await self._roots.refresh(known=known and self._roots.in_threads)
        if name and len(name) <= _LONGEST_NAME and not known and _needs_disk(name):
            self._asked[name] = None
            while len(self._asked) > _MOST_LOOKUPS:
                del self._asked[next(iter(self._asked))]
            await self._lookups.run(_LOOKUP_SECONDS)

    @property
    def silent(self) -> list[str]:
        """The folders of models that have not answered for a while."""
        return self._roots.silent

    @property
    def unread(self) -> list[str]:
        """The folders of models that have not answered at all."""
        return self._roots.unread

    def _knows(self, name: str) -> bool:
        if not self._roots.in_threads:
            return False
        try:
            return isinstance(self.find(name), CatalogEntry)
        except ModelNotFound:
            return False

    def entries(self) -> list[CatalogEntry]:
        """Return the models by id; of two with the same id, the first."""
        found: dict[str, CatalogEntry] = {}
        for model in self._everything():
            if isinstance(model, CatalogEntry):
                found.setdefault(model.id, model)
            elif not model.stray and (model.path, model.fault) not in self._logged:
                self._logged.add((model.path, model.fault))
                _log.warning("%r is ignored: %s", str(model.path), model.fault)
        return sorted(found.values(), key=lambda entry: entry.id)

    def broken(self) -> list[BrokenEntry]:
        """Return the broken models by id.

        Outside the models directory that leaves out strays, which belong to other programs.
        """
        broken = [
            model
            for model in self._everything()
            if isinstance(model, BrokenEntry) and (_own(model) or not model.stray)
        ]
        return sorted(broken, key=lambda model: (model.id, model.path))

    @property
    def aliases(self) -> Mapping[str, str]:
        """The aliases, each with the id or the folder's name that it stands for."""
        return self._config.aliases

    def aliases_of(self, model_id: str) -> list[str]:
        """Return the aliases of the model with that id, broken or not."""
        return sorted(alias for alias in self._config.aliases if self._means(alias, model_id))

    def configure(self, config: ModelsConfig, trusts: Callable[[str], bool]) -> None:
        """Take a changed configuration; the next `refresh` looks where it says."""
        self._config, self._trusts = config, trusts
        self._roots.configure(config.dirs)

    def set_aliases(self, aliases: dict[str, str]) -> None:
        """Replace the aliases."""
        self._config = msgspec.structs.replace(self._config, aliases=aliases)

    def set_default(self, name: str) -> None:
        """Make `name` the default model."""
        self._config = msgspec.structs.replace(self._config, default=name)

    def was_chosen(self, model_id: str) -> bool:
        """Return whether the model with that id is the configured default."""
        return self._means(self._config.default, model_id)

    def default(self) -> CatalogEntry | None:
        """Return the default model, if there is one."""
        try:
            return self.resolve(None)
        except ModelNotFound:
            return None

    def resolve(self, name: str | None) -> CatalogEntry:
        """Return the model that `name` means: by its ID, an alias or a like name (`matches`).

        It may also be the path of the model's folder, or its address on the hub. None means the
        default: the configured one, or else the only installed one; models in the hub's cache
        count only if there is no other.

        Raises:
            ModelNotFound: the model does not exist, is broken, or `name` is ambiguous.
        """
        if name is None or name in DEFAULT_NAMES:
            return self._default(self._config.default)
        model = self.find(name)
        if isinstance(model, BrokenEntry):
            fault = f"model {model.id!r} is broken: {model.fault}"
            raise ModelNotFound(fault, param="model", found=model.id)
        return model

    def find(self, name: str) -> CatalogEntry | BrokenEntry:
        """Return the model that `name` means, broken or not, usable ones first.

        Raises:
            ModelNotFound: as `resolve` does.
        """
        found = self._named(name)
        best = [model for model in found if isinstance(model, CatalogEntry)] or found
        if not best:
            raise self._unknown(name)
        return _only(name, best)

    def find_own(self, name: str) -> CatalogEntry | BrokenEntry:
        """Return the model that `name` means, broken or not, the models directory first.

        Raises:
            ModelNotFound: as `resolve` does.
        """
        own = [model for model in self._named(name) if _own(model)]
        return _only(name, own) if own else self.find(name)

    def adapter(self, name: str) -> Adapter:
        """Return the adapter `name`, which is never a path.

        Raises:
            InvalidRequest: there is no such adapter; the message lists those there are.
        """
        there = {adapter.name: adapter for adapter in adapters()}
        if (adapter := there.get(name)) is not None:
            return adapter
        installed = f"installed: {', '.join(there)}" if there else "none is installed"
        raise InvalidRequest(f"adapter {name!r} does not exist; {installed}", param="adapters")

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
            "several models are installed: request one of "
            f"{_listed(entry.id for entry in entries)}, "
            "or set the default with `mlxctl use MODEL`",
            param="model",
        )

    def _named(self, name: str) -> list[CatalogEntry | BrokenEntry]:
        """Return every model that `name` means, all by the same kind of name.

        Raises:
            ModelNotFound: it is the address of something else than a model, or the model is here
                at another revision.
        """
        if len(name) > _LONGEST_NAME:
            return []
        view = self._view()
        if is_path(name):
            return self._at(name, view)
        if found := self._matching(name, view):
            return found
        try:
            repo, revision = read_address(name)
        except NoModelAddress as error:
            raise ModelNotFound(str(error), param="model") from error
        found = self._matching(repo, view)
        there = self._on_disk(name, view) if found and revision else frozenset()
        right = [model for model in found if not revision or model.path in there]
        if found and not right:
            raise ModelNotFound(
                f"{found[0].id} is not at revision {revision!r}; to replace it by that one: "
                f"mlxctl pull {repo}@{revision}",
                param="model",
                found=found[0].id,
            )
        return right

    def _at(self, path: str, view: View) -> list[CatalogEntry | BrokenEntry]:
        """Return the model whose folder has that path, else one whose folder it leads to."""
        plain = Path(os.path.normpath(os.path.expanduser(path)))
        models = view.read(view.models)
        exact = [model for model in models if model.path == plain]
        there = frozenset() if exact else self._on_disk(path, view)
        return exact[:1] or [model for model in models if model.path in there][:1]

    def _matching(self, name: str, view: View) -> list[CatalogEntry | BrokenEntry]:
        found = matches(name, list(view.models), self._config.aliases)
        return next(filter(None, map(view.read, found)), [])

    def _view(self) -> View:
        view = self._roots.view()
        return View({each: self._judged(model) for each, model in view.models.items()}, view.paths)

    def _judged(
        self, model: CatalogEntry | BrokenEntry | None
    ) -> CatalogEntry | BrokenEntry | None:
        """Return a model as it is, or as a broken one if its code is not trusted."""
        if not isinstance(model, CatalogEntry) or not model.own_code or self._trusts(model.id):
            return model
        return BrokenEntry(
            id=model.id,
            path=model.path,
            created=model.created,
            size_bytes=model.size_bytes,
            fault=f"{model.own_code}, which runs only if you trust it: set trust_remote_code = "
            f"true under [{dotted((PER_MODEL, model.id))}]",
            stray=False,
            origin=model.origin,
        )

    def _everything(self) -> list[CatalogEntry | BrokenEntry]:
        view = self._view()
        return view.read(view.models)

    def _on_disk(self, name: str, view: View) -> frozenset[Path]:
        """Return the folders of the models that a path or a revision means."""
        if self._roots.in_threads:
            return self._looked_up.get(name, frozenset())
        return self._read_name(name, view)

    def _read_name(self, name: str, view: View) -> frozenset[Path]:
        models = view.read(view.models)
        if is_path(name):
            try:
                real = os.path.realpath(os.path.expanduser(name))
            except ValueError:  # no file has such a name
                return frozenset()
            return frozenset(model.path for model in models if view.paths[model.path] == real)
        repo, revision = read_address(name)
        found = self._matching(repo, view)
        return frozenset(model.path for model in found if has_revision(model, revision or ""))

    def _look_up(self) -> dict[str, frozenset[Path]]:
        view = self._view()
        return {name: self._read_name(name, view) for name in list(self._asked)}

    def _take_lookups(self, found: dict[str, frozenset[Path]]) -> None:
        self._looked_up = found

    def _unknown(self, name: str) -> ModelNotFound:
        if not (entries := self.entries()) and not self.unread:
            return _nothing_installed()
        names = [*(entry.id for entry in entries), *self._config.aliases]
        # difflib takes time for each letter, and nothing is near to a long text.
        near = difflib.get_close_matches(name[:_LONGEST_NEAR], names, _NEAR_NAMES)
        hint = f"did you mean {' or '.join(near)}?" if near else f"installed: {_listed(names)}"
        shown = name if len(name) <= _LONGEST_NEAR else f"{name[:_LONGEST_NEAR]}…"
        hint += "".join(f"; {each} does not answer (models.dirs)" for each in self.silent)
        return ModelNotFound(f"model {shown!r} does not exist; {hint}", param="model")


def _needs_disk(name: str) -> bool:
    """Whether only the disk tells what `name` means: a path, or a revision."""
    try:
        return is_path(name) or read_address(name)[1] is not None
    except NoModelAddress:
        return False


def _own(model: CatalogEntry | BrokenEntry) -> bool:
    return model.origin is Origin.MODELS_DIR


def _only(name: str, models: Sequence[CatalogEntry | BrokenEntry]) -> CatalogEntry | BrokenEntry:
    """Return the first of `models`, which must all have the same id.

    Raises:
        ModelNotFound: they have several.
    """
    ids = dict.fromkeys(model.id for model in models)
    if len(ids) > 1:
        raise ModelNotFound(f"{name!r} is ambiguous: use {_listed(ids, ' or ')}", param="model")
    return models[0]


def _nothing_installed() -> ModelNotFound:
    return ModelNotFound(
        "no model is installed: add one with `mlxctl pull OWNER/NAME` or `mlxctl import FILE.gguf`",
        param="model",
    )


def _listed(names: Iterable[str], between: str = ", ") -> str:
    (*first,) = names
    more = len(first) - _MOST_NAMES
    return between.join(first[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
