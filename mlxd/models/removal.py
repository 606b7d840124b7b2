"""Taking models off the disk: out of sight in one step, then deleted.

A folder that is being deleted has a hidden name beside its old one. Where the daemon dies on the
way, `sweep` finishes the work.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from mlxd import paths
from mlxd.errors import NotRemovable
from mlxd.models.entry import BrokenEntry, CatalogEntry, Origin

_PREFIX = ".removed-"


def check_removable(model: CatalogEntry | BrokenEntry) -> None:
    """Refuse what is not ours to remove.

    Raises:
        NotRemovable: says who else owns it.
    """
    if model.origin is Origin.HUB_CACHE:
        raise NotRemovable(
            f"{model.id} is in the Hugging Face cache, which mlxd only reads; "
            f"remove it there: hf cache rm model/{model.id}"
        )
    if model.origin is Origin.DIRS:
        raise NotRemovable(
            f"{model.id} is in a folder of models.dirs, which mlxd only reads; "
            f"remove it yourself: {model.path}"
        )
    owner = model.path.parent
    if owner != paths.models_dir() and owner.is_symlink():
        raise NotRemovable(
            f"{model.id} is behind the link {owner}, which mlxd only follows; "
            f"remove it yourself: {owner.resolve() / model.path.name}"
        )


def put_aside(folder: Path) -> Path:
    """Give a model's folder a hidden name, so that nobody finds it any more; give that name.

    Raises:
        NotRemovable: the file system refuses.
    """
    aside = folder.with_name(f"{_PREFIX}{uuid.uuid4().hex}")
    try:
        folder.rename(aside)
    except OSError as error:
        raise NotRemovable(f"{folder} cannot be removed: {error.strerror}") from error
    return aside


def delete(aside: Path) -> None:
    """Delete what was put aside, of a link only the link, and the folder of an owner of nothing.

    Raises:
        NotRemovable: the file system refuses; it is tried again at the next start.
    """
    try:
        if aside.is_symlink():
            aside.unlink()
        else:
            shutil.rmtree(aside)
    except OSError as error:
        raise NotRemovable(f"{error.filename} cannot be deleted: {error.strerror}") from error
    if aside.parent != paths.models_dir():
        with contextlib.suppress(OSError):  # it holds other models
            aside.parent.rmdir()


def sweep() -> None:
    """Delete what was put aside earlier, as far as the file system allows."""
    for aside in list(_put_aside_earlier(paths.models_dir())):
        with contextlib.suppress(NotRemovable):
            delete(aside)


def _put_aside_earlier(root: Path, *, nested: bool = True) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(root) as found:
        for entry in found:
            if entry.name.startswith(_PREFIX):
                yield root / entry.name
            elif nested and entry.is_dir(follow_symlinks=False):
                yield from _put_aside_earlier(root / entry.name, nested=False)
