"""The folders that may be models, in the models directory and wherever else they are looked for.

A folder of models holds them as `NAME` or as `OWNER/NAME`, and repositories as the hub's own cache
has them.
"""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from mlxd import paths
from mlxd.models import hub_cache
from mlxd.models.entry import Origin
from mlxd.models.folder import CONFIG, Place, looks_like_model

# Changes that are nearer together may leave one and the same time on a folder.
_CLOCK_TICK_NS = 2_000_000_000


class _Listing(msgspec.Struct, frozen=True):
    """What is in a folder and not hidden, as it was at a time."""

    changed_ns: int
    names: list[str]
    folders: list[Path]

    @property
    def is_owner(self) -> bool:
        """Whether it holds folders and no files: the models of an owner."""
        return bool(self.folders) and len(self.folders) == len(self.names)


_NOTHING = _Listing(0, [], [])


class SearchPath:
    """Looks into `dirs`, then the models directory, then the hub's cache; remembers what it saw."""

    def __init__(self, dirs: Sequence[str]) -> None:
        self._dirs = [Path(folder) for folder in dirs]
        self._known: dict[Path, _Listing] = {}

    def find(self) -> Iterator[Place]:
        """Give every place where a model may be; those of the hub's cache are repositories."""
        for root in self._dirs:
            if os.path.isfile(root / CONFIG):
                yield Place(root.name, root, Origin.DIRS)
            else:
                yield from self._in(root, Origin.DIRS)
        yield from self._in(paths.models_dir(), Origin.MODELS_DIR)
        if (cache := paths.hub_cache_dir()) is not None:
            yield from self._repositories(cache)

    def _in(self, root: Path, origin: Origin) -> Iterator[Place]:
        for folder in self._list(root).folders:
            if hub_cache.model_id(folder.name) is not None:
                continue
            listing = self._list(folder)
            if listing.is_owner and not looks_like_model(listing.names):
                for below in listing.folders:
                    yield Place(f"{folder.name}/{below.name}", below, origin)
            elif listing.names:
                yield Place(folder.name, folder, origin)
        yield from self._repositories(root)

    def _repositories(self, root: Path) -> Iterator[Place]:
        for folder in self._list(root).folders:
            if (model_id := hub_cache.model_id(folder.name)) is not None:
                yield Place(model_id, folder, Origin.HUB_CACHE)

    def _list(self, folder: Path) -> _Listing:
        """List a folder; nothing when it is none, or cannot be read."""
        known = self._known.get(folder)
        try:
            changed = os.stat(folder).st_mtime_ns
            if known is not None and known.changed_ns == changed:
                return known
            listing = _listing(folder, changed)
        except OSError:
            self._known.pop(folder, None)
            return _NOTHING
        if changed < time.time_ns() - _CLOCK_TICK_NS:
            self._known[folder] = listing
        return listing


def _listing(folder: Path, changed_ns: int) -> _Listing:
    names: list[str] = []
    folders: list[Path] = []
    with os.scandir(folder) as found:
        for entry in sorted(found, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            names.append(entry.name)
            # What a link leads to may come and go without a trace here: it is seen when followed.
            if entry.is_symlink() or entry.is_dir():
                folders.append(folder / entry.name)
    return _Listing(changed_ns, names, folders)
