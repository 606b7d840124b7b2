"""Removing models from the disk: hidden in one step, then deleted.

A folder that is being deleted has a hidden name in the same directory. If the daemon dies
meanwhile, `sweep` finishes the work at the next start.
"""

import contextlib
import shutil
import uuid
from pathlib import Path

from mlxd import paths
from mlxd.errors import NotRemovable
from mlxd.models.entry import BrokenEntry, CatalogEntry, Origin

_PREFIX = ".removed-"


def check_removable(model: CatalogEntry | BrokenEntry) -> None:
    """Check that the model is in the models directory.

    Raises:
        NotRemovable: it is elsewhere; the message says how to remove it there.
    """
    if model.origin is Origin.HUB_CACHE:
        where, how = "in the Hugging Face cache", f"hf cache rm model/{model.id}"
    elif model.origin is Origin.DIRS:
        where, how = "in a folder of models.dirs", str(model.path)
    elif link := next((each for each in _owners(model.path) if each.is_symlink()), None):
        where, how = f"behind the link {link}", str(model.path.parent.resolve() / model.path.name)
    else:
        return
    raise NotRemovable(f"{model.id} is {where}, which mlxd only reads; remove it there: {how}")


def _owners(folder: Path) -> list[Path]:
    """Return the folders between a model's and the models directory."""
    depth = len(folder.relative_to(paths.models_dir()).parts) - 1
    return list(folder.parents)[:depth]


def put_aside(folder: Path) -> Path:
    """Hide a model's folder, so that the catalog no longer finds it, and return its new path.

    Raises:
        NotRemovable: the file system refuses.
    """
    hidden = folder.with_name(f"{_PREFIX}{uuid.uuid4().hex}")
    try:
        folder.rename(hidden)
    except OSError as error:
        raise NotRemovable(f"{folder} cannot be removed: {error.strerror}") from error
    return hidden


def delete(hidden: Path) -> None:
    """Delete a hidden folder, or only the link if it is one, and the owner's folder once empty.

    Raises:
        NotRemovable: the file system refuses; the next start tries again.
    """
    try:
        if hidden.is_symlink():
            hidden.unlink()
        else:
            shutil.rmtree(hidden)
    except OSError as error:
        raise NotRemovable(f"{error.filename} cannot be deleted: {error.strerror}") from error
    if hidden.parent != paths.models_dir():
        with contextlib.suppress(OSError):  # it holds other models
            hidden.parent.rmdir()


def sweep() -> None:
    """Delete what an earlier daemon has hidden, as far as the file system allows."""
    root = paths.models_dir()
    places = (f"{'*/' * depth}{_PREFIX}*" for depth in range(3))
    for hidden in (found for place in places for found in root.glob(place)):
        if not any(owner.is_symlink() for owner in _owners(hidden)):
            with contextlib.suppress(NotRemovable):
                delete(hidden)
