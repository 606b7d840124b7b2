"""Where models are looked for: models.dirs, the models directory and the Hugging Face cache.

Below each of them a model is `NAME` or `OWNER/NAME`, or a repository of the Hugging Face cache:

    models--OWNER--NAME/refs/main           the latest revision that was downloaded
    models--OWNER--NAME/snapshots/REVISION  links to the files in blobs/

https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlxd import paths
from mlxd.models.entry import Candidate, Origin
from mlxd.models.folder import CONFIG, looks_like_model

_REPOSITORY = "models--"
_MAX_REF = 1000


def candidates(dirs: Sequence[str]) -> Iterator[Candidate]:
    """Yield the folders that may be models: in `dirs`, the models directory, and the cache.

    Those of the Hugging Face cache are repositories, which have `snapshots`.
    """
    for root in map(Path, dirs):
        if os.path.isfile(root / CONFIG):
            yield Candidate(root.name, root, Origin.DIRS)
        else:
            yield from _models(root, Origin.DIRS)
    yield from _models(paths.models_dir(), Origin.MODELS_DIR)
    if (cache := paths.hub_cache_dir()) is not None:
        yield from _repositories(_list(cache)[1])


def snapshots(repository: Path) -> list[Path]:
    """Return the folders of a repository's revisions, `main` first, then the newest.

    `main` may lack weights, if a program downloaded only the tokenizer of a newer revision.
    """
    try:
        with os.scandir(repository / "snapshots") as found:
            ages = {entry.name: entry.stat().st_mtime_ns for entry in found if entry.is_dir()}
    except OSError:
        return []
    main = _main(repository)
    newest_first = sorted(ages, key=lambda name: (name == main, ages[name]), reverse=True)
    return [repository / "snapshots" / name for name in newest_first]


def _main(repository: Path) -> str | None:
    try:
        with open(repository / "refs" / "main", encoding="ascii") as file:
            return file.read(_MAX_REF).strip()
    except (OSError, ValueError):
        return None


def _models(root: Path, origin: Origin) -> Iterator[Candidate]:
    _, folders = _list(root)
    for folder in folders:
        if folder.name.startswith(_REPOSITORY):
            continue
        names, below = _list(folder)
        only_folders = len(below) == len(names)
        if names and only_folders and not looks_like_model(names):  # it is an owner
            for model in below:
                yield Candidate(f"{folder.name}/{model.name}", model, origin)
        elif names:
            yield Candidate(folder.name, folder, origin)
    yield from _repositories(folders)


def _repositories(folders: Sequence[Path]) -> Iterator[Candidate]:
    for folder in folders:
        name = folder.name.removeprefix(_REPOSITORY)
        if name and name != folder.name:
            yield Candidate(name.replace("--", "/", 1), folder, Origin.HUB_CACHE)


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
    except OSError:
        return [], []
    return names, folders
