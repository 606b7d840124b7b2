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
from mlxd.models.folder import CONFIG, looks_like_model


class _Listing(msgspec.Struct, frozen=True):
    """What a folder holds that is not hidden."""

    names: list[str]
    folders: list[Path]

    @property
    def is_owner(self) -> bool:
        """Whether it holds only folders: the models of one owner."""
        return bool(self.folders) and len(self.folders) == len(self.names)


def candidates(dirs: Sequence[str]) -> Iterator[Candidate]:
    """Yield the folders that may be models: in `dirs`, the models directory, and the cache.

    Those of the Hugging Face cache are repositories.
    """
    for root in map(Path, dirs):
        if os.path.isfile(root / CONFIG):
            yield Candidate(root.name, root, Origin.DIRS)
        else:
            yield from _models(root, Origin.DIRS)
    yield from _models(paths.models_dir(), Origin.MODELS_DIR)
    if (cache := paths.hub_cache_dir()) is not None:
        yield from _repositories(_list(cache))


def _models(root: Path, origin: Origin) -> Iterator[Candidate]:
    listed = _list(root)
    for folder in listed.folders:
        if hub_cache.model_id(folder.name) is not None:
            continue
        listing = _list(folder)
        if listing.is_owner and not looks_like_model(listing.names):
            for below in listing.folders:
                yield Candidate(f"{folder.name}/{below.name}", below, origin)
        elif listing.names:
            yield Candidate(folder.name, folder, origin)
    yield from _repositories(listed)


def _repositories(listed: _Listing) -> Iterator[Candidate]:
    for folder in listed.folders:
        if (model_id := hub_cache.model_id(folder.name)) is not None:
            yield Candidate(model_id, folder, Origin.HUB_CACHE)


def _list(folder: Path) -> _Listing:
    """List a folder; one that is missing or cannot be read is empty."""
    names: list[str] = []
    folders: list[Path] = []
    try:
        with os.scandir(folder) as found:
            for entry in sorted(found, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                names.append(entry.name)
                # The target of a link is looked at only when the link is followed.
                if entry.is_symlink() or entry.is_dir():
                    folders.append(folder / entry.name)
    except OSError:
        return _Listing([], [])
    return _Listing(names, folders)
