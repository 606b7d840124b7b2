"""Where models are looked for: models.dirs, the models directory and the Hugging Face cache.

Below each of them a model is `NAME` or `OWNER/NAME`, or a repository as in the Hugging Face cache.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from mlxd import paths
from mlxd.models import hub_cache
from mlxd.models.entry import Candidate, Origin
from mlxd.models.folder import CONFIG, is_settled, looks_like_model


class _Listing(msgspec.Struct, frozen=True):
    """What a folder holds that is not hidden, and when it was last changed."""

    changed_ns: int
    names: list[str]
    folders: list[Path]

    @property
    def is_owner(self) -> bool:
        """Whether it holds only folders: the models of one owner."""
        return bool(self.folders) and len(self.folders) == len(self.names)


_EMPTY = _Listing(0, [], [])


class SearchPath:
    """Lists `dirs`, then the models directory, then the Hugging Face cache.

    A folder is listed again only if it has changed.
    """

    def __init__(self, dirs: Sequence[str]) -> None:
        self._dirs = [Path(folder) for folder in dirs]
        self._known: dict[Path, _Listing] = {}

    def candidates(self) -> Iterator[Candidate]:
        """Yield every folder that may be a model; one of the Hugging Face cache is a repository."""
        for root in self._dirs:
            if os.path.isfile(root / CONFIG):
                yield Candidate(root.name, root, Origin.DIRS)
            else:
                yield from self._in(root, Origin.DIRS)
        yield from self._in(paths.models_dir(), Origin.MODELS_DIR)
        if (cache := paths.hub_cache_dir()) is not None:
            yield from self._repositories(cache)

    def _in(self, root: Path, origin: Origin) -> Iterator[Candidate]:
        for folder in self._list(root).folders:
            if hub_cache.model_id(folder.name) is not None:
                continue
            listing = self._list(folder)
            if listing.is_owner and not looks_like_model(listing.names):
                for below in listing.folders:
                    yield Candidate(f"{folder.name}/{below.name}", below, origin)
            elif listing.names:
                yield Candidate(folder.name, folder, origin)
        yield from self._repositories(root)

    def _repositories(self, root: Path) -> Iterator[Candidate]:
        for folder in self._list(root).folders:
            if (model_id := hub_cache.model_id(folder.name)) is not None:
                yield Candidate(model_id, folder, Origin.HUB_CACHE)

    def _list(self, folder: Path) -> _Listing:
        """List a folder; one that is missing or cannot be read is empty."""
        known = self._known.get(folder)
        try:
            changed = os.stat(folder).st_mtime_ns
            if known is not None and known.changed_ns == changed:
                return known
            listing = _listing(folder, changed)
        except OSError:
            self._known.pop(folder, None)
            return _EMPTY
        if is_settled(changed):
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
            # The target of a link may come and go unseen, so it is looked at only when followed.
            if entry.is_symlink() or entry.is_dir():
                folders.append(folder / entry.name)
    return _Listing(changed_ns, names, folders)
