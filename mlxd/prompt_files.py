"""The prompt cache on disk as files: their names, how much they take, and which go first.

    prompts/                  what all models have, together at most `engine.prompt_cache_disk`
      FINGERPRINT/            what one model computed, and one way to run it
        model.json            a `FolderInfo`, for people
        KEY-PARENT-LENGTH.kv  one node: its LENGTH tokens follow those of its parent
        .new-…                a file that is being written

Engines write and read these files (`mlxd.engine.disk_cache`), the daemon lists and removes them
(`mlxd.control.prompt_cache`). Several of them do so at a time, and a person may delete anything, so
a file that was there a moment ago may be gone.
"""

import contextlib
import os
import re
import shutil
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import msgspec

INFO = "model.json"
TEMPORARY = ".new-"
_ASIDE = ".removed-"
_FOLDER = re.compile(r"[0-9a-f]{32}")
_FILE = re.compile(r"([0-9a-f]{64})-([0-9a-f]{64}|)-([0-9]{1,6})\.kv")
_ABANDONED_SECONDS = 60.0


class FolderInfo(msgspec.Struct, frozen=True):
    """Whose a folder is: the id of a model, and the name of its adapter."""

    model: str
    adapter: str | None = None


class NodeFile(NamedTuple):
    """What the name of a file says: the keys of a node and of its parent, and its length in tokens.

    The parent's key is empty for a node at the beginning of a prompt.
    """

    key: bytes
    parent: bytes
    length: int

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"{self.key.hex()}-{self.parent.hex()}-{self.length}.kv"

    @classmethod
    def parse(cls, name: str) -> "NodeFile | None":
        """Return what `name` says, None if it is not the name of such a file."""
        if (found := _FILE.fullmatch(name)) is None:
            return None
        return cls(bytes.fromhex(found[1]), bytes.fromhex(found[2]), int(found[3]))


class FileUsage(NamedTuple):
    """The size of a file in bytes, and when it was last used, in Unix nanoseconds."""

    size: int
    used_ns: int


def folders(root: Path) -> list[Path]:
    """Return the folders of all fingerprints, by name."""
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return [root / name for name in sorted(found) if _FOLDER.fullmatch(name)]
    return []


def read_info(folder: Path) -> FolderInfo | None:
    """Return whose a folder is, None if that cannot be told."""
    try:
        return msgspec.json.decode((folder / INFO).read_bytes(), type=FolderInfo)
    except (OSError, msgspec.DecodeError):
        return None


def node_files(folder: Path) -> list[NodeFile]:
    """Return the nodes in a folder by the names of their files."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [found for entry in entries if (found := NodeFile.parse(entry.name))]
    return []


def connected(nodes: Iterable[NodeFile]) -> list[NodeFile]:
    """Return the nodes whose ancestors are all there, each after its parent; one for each key."""
    children: dict[bytes, list[NodeFile]] = defaultdict(list)
    for node in nodes:
        children[node.parent].append(node)
    found: list[NodeFile] = []
    known = {b""}
    parents = [b""]
    while parents:
        for node in children.get(parents.pop(), ()):
            if node.key not in known:
                known.add(node.key)
                found.append(node)
                parents.append(node.key)
    return found


def usage(folder: Path) -> dict[NodeFile, FileUsage]:
    """Return the nodes in a folder, with their sizes and times."""
    found = {}
    for name, size, used_ns in _scan(folder):
        if node := NodeFile.parse(name):
            found[node] = FileUsage(size, used_ns)
    return found


def remove(folder: Path) -> None:
    """Remove the folder of a fingerprint; engines find all of it or nothing.

    Raises:
        OSError: the file system refuses.
    """
    aside = folder.with_name(f"{_ASIDE}{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(aside)
        shutil.rmtree(aside)


def remove_all_of(root: Path, model: str) -> None:
    """Remove what the model with that id has, with all its adapters, as far as that is allowed."""
    for folder in folders(root):
        if (info := read_info(folder)) is not None and info.model == model:
            with contextlib.suppress(OSError):  # it goes once it has not been used for long
                remove(folder)


class Survey:
    """All files below `root` at one moment: `total` bytes. Reading them takes a while.

    Files whose parent is gone, what was given up half-written, and what `remove` left behind are
    deleted.
    """

    def __init__(self, root: Path) -> None:
        self._found: dict[Path, dict[NodeFile, FileUsage]] = {}
        self.total = 0
        for folder in folders(root):
            self._found[folder] = self._read(folder)
        for aside in root.glob(f"{_ASIDE}*"):
            shutil.rmtree(aside, ignore_errors=True)

    def nodes(self, folder: Path) -> list[NodeFile]:
        """Return the nodes that a folder has."""
        return list(self._found.get(folder, ()))

    def trim(self, limit: int) -> None:
        """Delete what was not used for the longest time until `total` is at most `limit`.

        A node goes before its parent, without which it would be of no use.
        """
        if self.total <= limit:
            return
        files = [each for folder, found in self._found.items() for each in _by_use(folder, found)]
        for _, folder, node in sorted(files, key=itemgetter(0)):
            if _unlinked(folder / node.name):
                self.total -= self._found[folder].pop(node).size
            if self.total <= limit:
                break
        for folder in self._found:
            with contextlib.suppress(OSError):  # it holds files
                if {name for name, *_ in _scan(folder)} <= {INFO}:
                    (folder / INFO).unlink(missing_ok=True)
                    folder.rmdir()

    def _read(self, folder: Path) -> dict[NodeFile, FileUsage]:
        found: dict[NodeFile, FileUsage] = {}
        given_up = time.time_ns() - int(_ABANDONED_SECONDS * 1e9)
        for name, size, used_ns in _scan(folder):
            if node := NodeFile.parse(name):
                found[node] = FileUsage(size, used_ns)
            elif name.startswith(TEMPORARY) and not (
                used_ns < given_up and _unlinked(folder / name)
            ):
                self.total += size
        whole = {node: found.pop(node) for node in connected(found)}
        self.total += sum(each.size for each in whole.values())
        for orphan, (size, _) in found.items():
            if not _unlinked(folder / orphan.name):
                self.total += size
        return whole


def _by_use(folder: Path, found: dict[NodeFile, FileUsage]) -> list[tuple[int, Path, NodeFile]]:
    """Return each node of a folder, after the time it counts as used.

    A parent counts as used a little later than each of its children.
    """
    used = {node.key: each.used_ns for node, each in found.items()}
    parents = {node.key: node.parent for node in found}
    for key in sorted(used, key=used.__getitem__, reverse=True):
        child, parent = key, parents[key]
        while parent and used[parent] <= used[child]:
            used[parent] = used[child] + 1
            child, parent = parent, parents[parent]
    return [(used[node.key], folder, node) for node in found]


def _scan(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Yield the name, the size and the time of each file in a folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                yield entry.name, found.st_size, found.st_mtime_ns


def _unlinked(file: Path) -> bool:
    """Delete a file; return whether it is gone."""
    try:
        file.unlink(missing_ok=True)
    except OSError:
        return False
    return True
