"""Where a download is kept until it is a model.

    MODELS/.pulls/OWNER--NAME/
        pull.json     the pull, and its error if it failed
        HASH          a complete, verified file, named by its hash
        HASH.part     a file that is not complete or not verified
        model/        the model folder, made of links to the complete files
        replaced/     the model that it replaces

A model that was pulled has a `.mlxd-pull.json`, which says what it was pulled from.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from mlxd.files import write_atomically
from mlxd.hub.reference import Reference

FOLDER = ".pulls"
_STATE = "pull.json"
_RECORD = ".mlxd-pull.json"
_PART = ".part"

_Content = TypeVar("_Content", bound=msgspec.Struct)


class RepoFile(msgspec.Struct, frozen=True):
    """A file of a repository; `hash` is its sha256 (64 digits) or git's sha1 of it (40 digits)."""

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
    """A pull that is not finished; one that `failed` is not resumed by itself."""

    reference: Reference
    failed: str | None = None


class Staging:
    """The folder of one repository's download into `models_dir`, which need not exist."""

    def __init__(self, models_dir: Path, repo: str) -> None:
        self.folder = models_dir / FOLDER / repo.replace("/", "--")
        self.target = models_dir / repo

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folder and lock it, waiting for another process to release it.

        Raises:
            OSError: it cannot be made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def write(self, pending: Pending) -> None:
        """Record the pull for the next daemon."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / _STATE, pending)

    def complete_file(self, file: RepoFile) -> Path:
        """Return where `file` is once it is verified."""
        return self.folder / file.hash

    def part(self, file: RepoFile) -> Path:
        """Return where `file` is until it is verified."""
        return self.folder / (file.hash + _PART)

    def complete(self, file: RepoFile) -> None:
        """Turn the verified part into the complete file, synced to disk."""
        with self.part(file).open("rb") as stream:
            os.fsync(stream.fileno())
        self.part(file).replace(self.complete_file(file))

    def present_bytes(self, file: RepoFile) -> int:
        """Return how many bytes of `file` are here."""
        return size_of(self.complete_file(file)) or size_of(self.part(file))

    def keep_only(self, files: Collection[RepoFile]) -> None:
        """Remove the files of other revisions."""
        kept = {file.hash for file in files}
        for path in self._files():
            if path.name.removesuffix(_PART) not in kept:
                path.unlink()

    def size_bytes(self) -> int:
        """Return the size of what was downloaded, complete files and parts."""
        return sum(map(size_of, self._files()))

    def _files(self) -> list[Path]:
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        paths = [self.folder / name for name in names if name != _STATE and name[0] != "."]
        return [path for path in paths if path.is_file()]

    def installed(self) -> PullRecord | None:
        """Return what the installed model was pulled from, if it was pulled."""
        return _read(self.target / _RECORD, PullRecord)

    def install(self, record: PullRecord) -> None:
        """Make a model of the files, which are all complete, and put it in place.

        It replaces the installed model; a process that has opened that one's files keeps them.

        Raises:
            OSError: it cannot be written; the downloaded files are still there.
        """
        model, replaced = self.folder / "model", self.folder / "replaced"
        shutil.rmtree(model, ignore_errors=True)
        model.mkdir()
        for file in record.files:
            (model / file.name).parent.mkdir(exist_ok=True)
            if not link(self.complete_file(file), model / file.name):
                shutil.copyfile(self.complete_file(file), model / file.name)
        _write(model / _RECORD, record)
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
    """Return the pulls that were neither finished nor cancelled, by name."""
    folders = sorted((models_dir / FOLDER).glob("*/"))
    found = (_read(folder / _STATE, Pending) for folder in folders)
    return [pending for pending in found if pending is not None]


def size_of(file: Path) -> int:
    """Return the size of a file, 0 if there is none."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def link(existing: Path, new: Path) -> bool:
    """Make `new` another name of `existing`; return whether the file system can."""
    try:
        os.link(existing, new)
    except OSError:
        return False
    return True


def _write(file: Path, content: msgspec.Struct) -> None:
    write_atomically(file, msgspec.json.format(msgspec.json.encode(content)), mode=0o644)


def _read(file: Path, kind: type[_Content]) -> _Content | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None
