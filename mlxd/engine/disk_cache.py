"""The nodes of the prompt cache on disk: written in the background, and read by later engines.

A thread writes, so that a step never waits for the disk. A file appears whole or not at all, and is
checked when it is read; a damaged one is removed, with a line in the log. Other processes write to
the same disk, and may remove any file at any time, so a node that cannot be read or written is
simply missing, never an error. This module does not use MLX.
"""

import contextlib
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import msgspec

from mlxd.engine.node_file import DamagedNode, StoredNode, decode, encode
from mlxd.files import write_atomically
from mlxd.prompt_files import INFO, TEMPORARY, FolderInfo, NodeFile, Survey, connected, node_files

_QUEUE_BYTES = 256_000_000
_PAUSE_SECONDS = 60.0
_FREE_SHARE = 0.05
"""The most of a disk that stays free."""
_SURVEY_SHARE, _ROOM_SHARE, _SPARE_SHARE = 1 / 64, 1 / 16, 1 / 32
"""In parts of `max_bytes`: how much is written until all files are counted again, how much is free
after a trim, and how little may be free before the next. Between two counts an engine does not know
what others write, so three of them stay within `max_bytes`."""


class DiskCache:
    """The nodes of one model, run in one way, in the folder `root/FINGERPRINT`.

    Opening it reads the names of the files, but no file. Any thread may call the methods, which
    never raise because of the disk. `max_bytes` is for all folders in `root` together; `keep_free`
    bytes of the disk stay free, or a twentieth of a small one. `queue_bytes` limits what waits to
    be written.
    """

    def __init__(
        self,
        root: Path,
        fingerprint: str,
        max_bytes: int,
        info: FolderInfo,
        *,
        keep_free: int = 0,
        queue_bytes: int = _QUEUE_BYTES,
    ) -> None:
        self._folder = root / fingerprint
        self._max_bytes = max_bytes
        self._info = info
        self._keep_free = keep_free
        self._queue_bytes = queue_bytes
        self._changed = threading.Condition()  # its lock guards what follows
        self._nodes: dict[bytes, NodeFile] = {}
        self._children: dict[bytes, set[bytes]] = {}
        self._queue: dict[bytes, StoredNode] = {}  # the first one is being written
        self._queued_bytes = 0
        self._used: set[bytes] = set()
        self._replaced: set[bytes] = set()
        self._closing = False
        self._paused_until = 0.0
        self._complained = False
        self._total: int | None = None  # of the last survey, and what was written since
        self._unsurveyed = 0
        self._remove_half_written()
        self._know(node_files(self._folder))
        self._writer = threading.Thread(target=self._write_all, name="disk-cache", daemon=True)
        self._writer.start()

    def __contains__(self, key: bytes) -> bool:
        """Return whether a node is on disk or about to be, as far as is known without looking."""
        return key in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def children(self, parent: bytes) -> list[NodeFile]:
        """Return the nodes that follow the one with the key `parent`; b"" is for the beginning."""
        with self._changed:
            return [self._nodes[key] for key in self._children.get(parent, ())]

    def write(self, node: StoredNode) -> bool:
        """Write a node soon, in place of one with the same key; return at once.

        Return False if it is not going to be written: too much waits already, the disk is full or
        fails, its parent is not there, or it is larger than a quarter of `max_bytes`. Its buffers
        must not change; the writing thread may be the last to hold them.
        """
        with self._changed:
            before = self._queue.get(node.key)
            queued = self._queued_bytes - (before.nbytes if before else 0)
            if (
                self._closing
                or node.nbytes > self._max_bytes // 4
                or time.monotonic() < self._paused_until
                or (queued and queued + node.nbytes > self._queue_bytes)
                or (node.parent and node.parent not in self._nodes)
            ):
                return False
            self._queue[node.key] = node
            self._queued_bytes = queued + node.nbytes
            self._add(node.file)
            self._replaced.discard(node.key)
            self._changed.notify_all()
            return True

    def read(self, key: bytes) -> StoredNode | None:
        """Return a node, None if it is not there or its file is not as it was written.

        What follows such a node is dropped with it.
        """
        with self._changed:
            if (queued := self._queue.get(key)) is not None:
                return queued
            file = self._nodes.get(key)
        if file is None:
            return None
        try:
            return decode(self._content(file), self._folder.name, file)
        except FileNotFoundError:
            pass  # another process made room, or somebody cleared the cache
        except OSError as error:
            self._log(f"{self._short(file)} cannot be read and is dropped: {error.strerror}")
        except DamagedNode as error:
            self._log(f"{self._short(file)} {error} and is dropped")
        self._drop(key)
        return None

    def touch(self, key: bytes) -> None:
        """Remember that a node was used now; its file tells with the next write, or at the end."""
        with self._changed:
            if key in self._nodes:
                self._used.add(key)

    def remove(self, key: bytes) -> None:
        """Delete a node that another one replaces, and what follows it, after the next write."""
        with self._changed:
            self._replaced.add(key)

    def flush(self, seconds: float) -> bool:
        """Wait until all is written, for at most `seconds`; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue, seconds)

    def close(self, seconds: float = 2.0) -> None:
        """Write what waits, for at most `seconds`, and nothing after that."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join(seconds)

    def _write_all(self) -> None:
        """Write one node after another: the thread's work."""
        while (node := self._next()) is not None:
            stored = time.monotonic() >= self._paused_until and self._store(node)
            file = self._folder / node.file.name
            # A node that has been forgotten meanwhile, with what it follows, is of no use.
            if node.key not in self._nodes or not (stored or os.path.exists(file)):
                self._drop(node.key)
                _remove(file)
            with self._changed:
                if self._queue.get(node.key) is node:
                    self._unqueue(node.key)
                self._changed.notify_all()
        self._mark_used()

    def _next(self) -> StoredNode | None:
        """Wait for the next node to write; return None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            return next(iter(self._queue.values()), None)

    def _store(self, node: StoredNode) -> bool:
        """Write a node; return whether its file is there."""
        try:
            self._mark_used()
            if not self._parent_exists(node) or not self._make_room(node.nbytes):
                return False
            self._make_folder()
            self._write_file(node)
        except FileNotFoundError:
            return False  # the folder has just been removed
        except OSError as error:
            self._pause(f"{error.strerror} ({self._folder.parent})")
            return False
        self._complained = False
        self._remove_replaced()
        return True

    def _parent_exists(self, node: StoredNode) -> bool:
        """Return whether a node will be found; if its parent is gone, forget what followed that."""
        if not node.parent:
            return True
        parent = self._nodes.get(node.parent)
        if parent is not None and os.path.exists(self._folder / parent.name):
            return True
        self._drop(node.parent)
        return False

    def _make_room(self, size: int) -> bool:
        """Return whether `size` bytes may be written, after removing what was not used for long."""
        spare = self._free_bytes() - size
        if (
            spare >= 0
            and self._total is not None
            and self._total + size <= self._max_bytes - self._part(_SPARE_SHARE)
            and self._unsurveyed + size <= self._part(_SURVEY_SHARE)
        ):
            self._total += size
            self._unsurveyed += size
            return True
        survey = Survey(self._folder.parent)
        limit = self._max_bytes - size
        if survey.total > limit - self._part(_SPARE_SHARE):
            limit -= self._part(_ROOM_SHARE)
        if spare < 0:
            limit = min(limit, survey.total + spare - self._part(_SPARE_SHARE))
        survey.trim(limit)
        self._know(survey.nodes(self._folder))
        self._total, self._unsurveyed = survey.total + size, size
        if survey.total <= limit:
            return True
        self._pause(f"there is no room for {size} bytes ({self._folder.parent})")
        return False

    def _free_bytes(self) -> int:
        """Return how much the disk may still be filled."""
        folder = self._folder
        while not folder.is_dir() and folder != folder.parent:
            folder = folder.parent
        disk = shutil.disk_usage(folder)
        return disk.free - min(int(disk.total * _FREE_SHARE), self._keep_free)

    def _make_folder(self) -> None:
        """Make the folder unless it is there; what was in one that is gone is forgotten."""
        if self._folder.is_dir():
            return
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        write_atomically(self._folder / INFO, msgspec.json.encode(self._info))
        self._know([])

    def _write_file(self, node: StoredNode) -> None:
        pieces = encode(node, self._folder.name)
        fresh = self._folder / f"{TEMPORARY}{os.getpid()}-{id(self):x}"
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            # Not flushed to the disk: what a loss of power tears, the checksum tells.
            with open(descriptor, "wb", buffering=0) as stream:
                for piece in pieces:
                    rest = memoryview(piece)
                    while rest:
                        rest = rest[stream.write(rest) :]
            fresh.rename(self._folder / node.file.name)
        except OSError:
            _remove(fresh)
            raise

    def _content(self, file: NodeFile) -> bytes:
        descriptor = os.open(self._folder / file.name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with open(descriptor, "rb", buffering=0) as stream:
            if os.fstat(descriptor).st_size > self._max_bytes:
                raise DamagedNode("is too large")
            return stream.readall()

    def _mark_used(self) -> None:
        """Set the times of the files that were used."""
        with self._changed:
            files = [self._nodes[key] for key in self._used if key in self._nodes]
            self._used.clear()
        for file in files:
            with contextlib.suppress(OSError):
                os.utime(self._folder / file.name)

    def _remove_replaced(self) -> None:
        with self._changed:
            keys = list(self._replaced)
            self._replaced.clear()
        for key in keys:
            self._drop(key)

    def _remove_half_written(self) -> None:
        """Remove what an engine left that was killed while it wrote."""
        for file in self._folder.glob(f"{TEMPORARY}*"):
            _remove(file)

    def _know(self, files: list[NodeFile]) -> None:
        """Know of `files` and of what waits, and of no others; what has no parent is left out."""
        nodes = {file.key: file for file in connected(files)}
        children: dict[bytes, set[bytes]] = {}
        for file in nodes.values():
            children.setdefault(file.parent, set()).add(file.key)
        with self._changed:
            self._nodes, self._children = nodes, children
            for node in list(self._queue.values()):
                if not node.parent or node.parent in nodes:
                    self._add(node.file)
                else:
                    self._unqueue(node.key)

    def _add(self, file: NodeFile) -> None:
        self._nodes[file.key] = file
        self._children.setdefault(file.parent, set()).add(file.key)

    def _drop(self, key: bytes) -> None:
        """Forget a node and all that follow it, and delete their files."""
        gone: list[NodeFile] = []
        with self._changed:
            if (first := self._nodes.get(key)) is not None:
                self._children[first.parent].discard(key)
            keys = [key]
            while keys:
                each = keys.pop()
                keys += self._children.pop(each, ())
                if (file := self._nodes.pop(each, None)) is not None:
                    gone.append(file)
                self._unqueue(each)
        for file in gone:
            _remove(self._folder / file.name)

    def _unqueue(self, key: bytes) -> None:
        if (node := self._queue.pop(key, None)) is not None:
            self._queued_bytes -= node.nbytes

    def _pause(self, reason: str) -> None:
        """Write nothing for a while; say so once, until writing works again."""
        self._paused_until = time.monotonic() + _PAUSE_SECONDS
        if not self._complained:
            self._complained = True
            self._log(f"writes to disk pause: {reason}")

    def _part(self, share: float) -> int:
        return int(self._max_bytes * share)

    def _short(self, file: NodeFile) -> str:
        return f"{self._folder.name[:8]}/{file.name[:12]}…"

    def _log(self, line: str) -> None:
        """Write a line to the daemon's log, in which standard error ends."""
        print(f"prompt cache: {line}", file=sys.stderr, flush=True)  # noqa: T201


def _remove(file: Path) -> None:
    """Delete a file if the file system allows it."""
    with contextlib.suppress(OSError):
        file.unlink()
