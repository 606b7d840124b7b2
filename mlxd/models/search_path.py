"""Where models are looked for: models.dirs, the models directory and the Hugging Face cache.

Below each of them a model is `NAME` or `OWNER/NAME`, also one folder deeper, where other programs
keep their models; or a repository of the Hugging Face cache:

    models--OWNER--NAME/refs/main           the latest revision that was downloaded
    models--OWNER--NAME/snapshots/REVISION  links to the files in blobs/

Any other file or folder beside a model, such as a note or a link to nowhere, is passed over.

https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from mlxd import paths
from mlxd.files import out_of_files
from mlxd.models.entry import Candidate, Origin
from mlxd.models.folder import CONFIG, looks_like_model
from mlxd.models.names import ref
from mlxd.models.weights import is_weights

_REPOSITORY = "models--"
_DEPTH = 2
_PIPELINE = "model_index.json"
"""What diffusers writes beside the parts of a pipeline, some of which are language models."""


class Root(msgspec.Struct, frozen=True):
    """A folder in which models are looked for; `origin` is that of what is found there."""

    folder: Path
    origin: Origin

    def candidates(self) -> Iterator[Candidate]:
        """Yield the folders that may be models.

        Those of the Hugging Face cache are repositories, which have `snapshots`. Raises OSError if
        this process cannot open more files.
        """
        if self.origin is Origin.HUB_CACHE:
            yield from _repositories(_list(self.folder)[1])
        elif self.origin is Origin.DIRS and os.path.isfile(self.folder / CONFIG):
            yield Candidate(self.folder.name, self.folder, Origin.DIRS)
        else:
            yield from _models(self.folder, self.origin)


def roots(dirs: Sequence[str]) -> list[Root]:
    """Return where models are looked for: in `dirs`, the models directory, and the cache."""
    found = [Root(Path(folder), Origin.DIRS) for folder in dict.fromkeys(dirs)]
    found.append(Root(paths.models_dir(), Origin.MODELS_DIR))
    if (cache := paths.hub_cache_dir()) is not None:
        found.append(Root(cache, Origin.HUB_CACHE))
    return found


def snapshots(repository: Path) -> list[Path]:
    """Return the folders of a repository's revisions, `main` first, then the newest.

    `main` may lack weights, if a program downloaded only the tokenizer of a newer revision.
    """
    try:
        with os.scandir(repository / "snapshots") as found:
            ages = {entry.name: entry.stat().st_mtime_ns for entry in found if entry.is_dir()}
    except OSError:
        return []
    main = ref(repository, "main")
    newest_first = sorted(ages, key=lambda name: (name == main, ages[name]), reverse=True)
    return [repository / "snapshots" / name for name in newest_first]


def _models(root: Path, origin: Origin) -> Iterator[Candidate]:
    _, folders = _list(root)
    for folder in folders:
        if not folder.name.startswith(_REPOSITORY):
            yield from _found(folder, folder.name, origin, _DEPTH)[0]
    yield from _repositories(folders)


def _found(folder: Path, model_id: str, origin: Origin, depth: int) -> tuple[list[Candidate], bool]:
    """Return the candidate in a folder or those up to `depth` folders below it.

    Also return whether they have files of a model. Without such files, a folder that has only
    folders is an owner, and anything else a candidate that says what it is.
    """
    itself = [Candidate(model_id, folder, origin)]
    names, below = _list(folder)
    meant_as_model = looks_like_model(names)
    if any(map(is_weights, names)) or (meant_as_model and not below):
        return itself, True
    if not names:
        return ([] if os.access(folder, os.R_OK) else itself), False
    if _leads_back(folder):
        return [], False
    if depth == 0 or not below or _PIPELINE in names:
        return itself, meant_as_model
    owner = folder.name
    kept = list(_repositories(below))
    strays: list[Candidate] = []
    for inner in below:
        if not (name := inner.name).startswith(_REPOSITORY):
            found, meant = _found(inner, f"{owner}/{name}", origin, depth - 1)
            (kept if meant else strays).extend(found)
    if depth == _DEPTH and len(below) == len(names):
        kept += strays
    return (kept, True) if kept else (itself, meant_as_model)


def _leads_back(folder: Path) -> bool:
    """Return whether a link leads to a folder that it is in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _repositories(folders: Sequence[Path]) -> Iterator[Candidate]:
    for folder in folders:
        if (name := folder.name).startswith(_REPOSITORY) and name != _REPOSITORY:
            model_id = name.removeprefix(_REPOSITORY).replace("--", "/", 1)
            yield Candidate(model_id, folder, Origin.HUB_CACHE)


def _list(folder: Path) -> tuple[list[str], list[Path]]:
    """Return the printable names in a folder that are not hidden, and the folders among them.

    A folder that is missing or cannot be read is empty.
    """
    names: list[str] = []
    folders: list[Path] = []
    try:
        with os.scandir(folder) as found:
            for entry in sorted(found, key=lambda entry: entry.name):
                if entry.name.startswith(".") or not entry.name.isprintable():
                    continue
                names.append(entry.name)
                # The target of a link is looked at only when the link is followed.
                if entry.is_symlink() or entry.is_dir():
                    folders.append(folder / entry.name)
    except OSError as error:
        if out_of_files(error):
            raise
        return [], []
    return names, folders
