"""Where a download is kept until it is a model.

    MODELS/.pulls/OWNER--NAME/
        pull.json     the pull, and its error if it failed
        HASH          a complete, verified file, named by its hash
        HASH.part     a file that is not complete or not verified (`partial_file`)
        HASH.ranges   which of its bytes are here
        checked/      the small files, made of links to the complete files, while they are checked
        model/        the model folder, made of such links
        replaced/     the model that it replaces

A model that was pulled has a `.mlxd-pull.json`, which says what it was pulled from.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from mlxd.files import write_atomically
from mlxd.hub.partial_file import PART, RANGES, bytes_here, remove_ranges
from mlxd.hub.reference import Reference
from mlxd.models.names import PULL_RECORD

_FOLDER = ".pulls"
_STATE = "pull.json"
_SHA256_LENGTH = 64

_Content = TypeVar("_Content", bound=msgspec.Struct)


class RepoFile(msgspec.Struct, frozen=True):
    """A file of a repository; `hash` is its sha256 (64 digits) or git's sha1 of it (40 digits)."""

    name: str
    size: int
    hash: str


class Snapshot(msgspec.Struct, frozen=True):
    """A repository at a commit, and its files: those a model was pulled from, in its record."""

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
        self.folder = models_dir / _FOLDER / repo.replace("/", "--")
        self.target = models_dir / repo

    def write(self, pending: Pending) -> None:
        """Make the folder, and record the pull in it for the next daemon."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / _STATE, pending)

    @contextlib.contextmanager
    def held(self, wait: Callable[[], None]) -> Iterator[None]:
        """Keep other downloads of the repository out, those of another daemon too.

        Call `wait` if there is one, and wait for its end. A file system without locks has none.
        """
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if not _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    wait()
                    _lock(descriptor, fcntl.LOCK_EX)
                if _is_at(descriptor, self.folder):  # the other one did not remove it
                    yield
                    return
            finally:
                os.close(descriptor)

    def complete_file(self, file: RepoFile) -> Path:
        """Return where `file` is once it is verified."""
        return self.folder / file.hash

    def part(self, file: RepoFile) -> Path:
        """Return where `file` is until it is verified."""
        return self.folder / (file.hash + PART)

    def complete(self, file: RepoFile) -> bool:
        """Make the part the complete file if it has the right hash, else remove it."""
        part = self.part(file)
        if not _has_hash(part, file):
            remove_ranges(part)
            part.unlink()
            return False
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(self.complete_file(file))
        remove_ranges(part)
        return True

    def present_bytes(self, file: RepoFile) -> int:
        """Return how many bytes of `file` are here."""
        return size_of(self.complete_file(file)) or bytes_here(self.part(file))

    def keep_only(self, files: Collection[RepoFile]) -> None:
        """Remove the files of other revisions."""
        kept = {file.hash for file in files}
        for path in self._files():
            if path.stem not in kept:
                path.unlink()

    def size_bytes(self) -> int:
        """Return the size of what was downloaded, complete files and parts."""
        files = [path for path in self._files() if path.suffix != RANGES]
        return sum(bytes_here(file) if file.suffix == PART else size_of(file) for file in files)

    def _files(self) -> list[Path]:
        found = self.folder.glob("[!.]*")
        return [path for path in found if path.name != _STATE and path.is_file()]

    def installed(self) -> Snapshot | None:
        """Return what the installed model was pulled from, if it was pulled."""
        return _read(self.target / PULL_RECORD, Snapshot)

    def install(self, snapshot: Snapshot) -> None:
        """Make a model of the files, which are all complete, and put it in place.

        It replaces the installed model; a process that has opened that one's files keeps them.

        Raises:
            OSError: it cannot be written; the downloaded files are still there.
        """
        replaced = self.folder / "replaced"
        model = self.assemble(snapshot.files, "model")
        _write(model / PULL_RECORD, snapshot)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if self.target.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            self.target.rename(replaced)
        model.rename(self.target)
        self.remove()

    def assemble(self, files: Iterable[RepoFile], name: str) -> Path:
        """Make a folder of complete files with their own names, and return it."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file in files:
            (folder / file.name).parent.mkdir(exist_ok=True)
            link(self.complete_file(file), folder / file.name)
        return folder

    def remove(self) -> None:
        """Remove everything that is not installed."""
        shutil.rmtree(self.folder, ignore_errors=True)


def unfinished(models_dir: Path) -> list[Pending]:
    """Return the pulls that were neither finished nor cancelled, by name."""
    folders = sorted((models_dir / _FOLDER).glob("*/"))
    found = (_read(folder / _STATE, Pending) for folder in folders)
    return [pending for pending in found if pending is not None]


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have no locks
        return True
    return True


def _is_at(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False


def size_of(file: Path) -> int:
    """Return the size of a file, 0 if there is none."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def link(existing: Path, new: Path) -> None:
    """Make `new` another name of `existing`, or a copy where the file system has no such links."""
    try:
        os.link(existing, new)
    except OSError:
        shutil.copyfile(existing, new)


def _has_hash(path: Path, file: RepoFile) -> bool:
    def begin() -> "hashlib._Hash":
        if len(file.hash) == _SHA256_LENGTH:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)

    with path.open("rb", buffering=0) as stream:
        return hashlib.file_digest(stream, begin).hexdigest() == file.hash


def _write(file: Path, content: msgspec.Struct) -> None:
    write_atomically(file, msgspec.json.format(msgspec.json.encode(content)))


def _read(file: Path, kind: type[_Content]) -> _Content | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None
