"""Where a download lies until it is a model.

    MODELS/.pulls/OWNER--NAME/
        pull.json     what was asked for, and how it failed if it did
        HASH          a whole file, verified, named by its hash
        HASH.part     as much of a file as has come
        model/        the folder as it will be, of links to the whole files
        replaced/     the model that it takes the place of

Since files are named by what is in them, a new revision takes over what has not changed. A model
that was pulled has a `.mlxd-pull.json`, which says what it was pulled from.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from mlxd.hub.reference import Reference

FOLDER = ".pulls"
_STATE = "pull.json"
_ORIGIN = ".mlxd-pull.json"
_PART = ".part"

_Content = TypeVar("_Content", bound=msgspec.Struct)


class RepoFile(msgspec.Struct, frozen=True):
    """A file of a repository; `hash` is the sha256 (64 digits) or git's sha1 of it (40 digits)."""

    name: str
    size: int
    hash: str


class PullRecord(msgspec.Struct, frozen=True):
    """What a model was pulled from, in its folder."""

    repo: str
    revision: str
    commit: str
    files: list[RepoFile]


class Pending(msgspec.Struct, frozen=True):
    """A pull that is not finished; with `failed` it waits for somebody to ask for it again."""

    reference: Reference
    failed: str | None = None


class Staging:
    """The folder of one repository's download into `models_dir`, which need not exist."""

    def __init__(self, models_dir: Path, repo: str) -> None:
        self.folder = models_dir / FOLDER / repo.replace("/", "--")
        self.target = models_dir / repo

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Make the folder and keep every other process out of it, after waiting for it to go.

        Raises:
            OSError: it cannot be made.
        """
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                # Who held it before may have finished, and have removed it.
                if _is_same(descriptor, self.folder):
                    yield
                    return
            finally:
                os.close(descriptor)

    def write(self, pending: Pending) -> None:
        """Note what is wanted, so that it is not forgotten."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / _STATE, pending)

    def whole(self, file: RepoFile) -> Path:
        """Give where `file` is once it is verified."""
        return self.folder / file.hash

    def part(self, file: RepoFile) -> Path:
        """Give where `file` grows."""
        return self.folder / (file.hash + _PART)

    def complete(self, file: RepoFile) -> None:
        """Take what has grown for the whole file, on disk for certain."""
        with self.part(file).open("rb") as stream:
            os.fsync(stream.fileno())
        self.part(file).replace(self.whole(file))

    def present(self, file: RepoFile) -> int:
        """Give how many bytes of `file` are here."""
        if self.whole(file).exists():
            return file.size
        return size_of(self.part(file))

    def keep_only(self, files: Collection[RepoFile]) -> None:
        """Remove what another revision has left."""
        kept = {file.hash for file in files}
        for path in self._files():
            if path.name.removesuffix(_PART) not in kept:
                path.unlink()

    def size_bytes(self) -> int:
        """Give the size of what has come, whole files and parts."""
        return sum(map(size_of, self._files()))

    def _files(self) -> list[Path]:
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        paths = [self.folder / name for name in names if name != _STATE]
        return [path for path in paths if path.is_file()]

    def origin(self) -> PullRecord | None:
        """Give what the model that is installed was pulled from, if it was pulled."""
        return _read(self.target / _ORIGIN, PullRecord)

    def install(self, origin: PullRecord) -> None:
        """Make a model of the files, all of which are whole, and put it in its place.

        A model that is there already is replaced; who has opened its files keeps them.

        Raises:
            OSError: it cannot be written; what has come is still there.
        """
        model, replaced = self.folder / "model", self.folder / "replaced"
        shutil.rmtree(model, ignore_errors=True)
        model.mkdir()
        for file in origin.files:
            (model / file.name).parent.mkdir(exist_ok=True)
            _link(self.whole(file), model / file.name)
        _write(model / _ORIGIN, origin)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if self.target.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            self.target.rename(replaced)
        model.rename(self.target)
        self.remove()

    def remove(self) -> None:
        """Remove everything that is not installed."""
        shutil.rmtree(self.folder, ignore_errors=True)


def unfinished(models_dir: Path) -> list[Pending]:
    """Give the pulls that were begun and neither finished nor cancelled, by name."""
    folders = sorted((models_dir / FOLDER).glob("*/"))
    found = (_read(folder / _STATE, Pending) for folder in folders)
    return [pending for pending in found if pending is not None]


def size_of(file: Path) -> int:
    """Give the size of a file, 0 when there is none."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def present_in(folder: Path, files: Sequence[RepoFile]) -> bool:
    """Whether `folder` has all `files`, going by their sizes."""
    return all(
        (folder / file.name).is_file() and size_of(folder / file.name) == file.size
        for file in files
    )


def link(existing: Path, new: Path) -> bool:
    """Make `new` another name of `existing`, where the file system has that; tell whether."""
    try:
        os.link(existing, new)
    except OSError:
        return False
    return True


def _link(existing: Path, new: Path) -> None:
    if not link(existing, new):
        shutil.copyfile(existing, new)


def _is_same(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False


def _write(file: Path, content: msgspec.Struct) -> None:
    """Write a file whole or not at all."""
    new = file.with_name(file.name + ".new")
    with new.open("wb") as stream:
        stream.write(msgspec.json.format(msgspec.json.encode(content)))
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def _read(file: Path, kind: type[_Content]) -> _Content | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None
