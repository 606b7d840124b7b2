"""The responses that `POST /v1/responses` keeps, as files, so that conversations can go on.

    responses/           what all keys have, together at most `responses.max_bytes`
      OWNER/             those of one API key: a hash of it
        resp_ID.json     a `StoredResponse`

A file has everything that its response was made of, and depends on no other file. Files older than
`responses.max_age` are removed; if all together are too large, the oldest go first. While the disk
is full, the last responses stay in memory, and are written once there is room.
"""

import asyncio
import hashlib
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mlxd.files import write_atomically

_ID = re.compile(r"resp_[0-9a-f]{48}")
_KEPT_SHARE = 0.9
"""The share of the allowed size that is left after the oldest files were removed."""
_SWEEP_SECONDS = 3600.0
_ABANDONED_SECONDS = 60.0
_HELD_BYTES = 16_000_000
LARGEST = 64_000_000
"""Bytes of the largest response that is kept."""

_log = logging.getLogger(__name__)


class StoredResponse(msgspec.Struct, frozen=True):
    """A response, the items it is the answer to, and its events if it may be streamed again."""

    response: dict[str, Any]
    items: list[dict[str, Any]]
    events: list[str] = []


class ResponseStore:
    """The files of all API keys; each finds only its own: `owner` is the salt of the key.

    Every method but `sweep` works in a thread.
    """

    def __init__(self, folder: Path, *, key: str, max_bytes: int, max_age: float) -> None:
        """Take the folder, which need not exist, and the limits on size and age in seconds.

        Responses without an owner belong to `key`, which is `server.api_key`.
        """
        self._folder = folder
        self.configure(key=key, max_bytes=max_bytes, max_age=max_age)
        self._lock = threading.Lock()
        self._held: dict[Path, bytes] = {}
        self._size: int | None = None
        self._swept = 0.0

    def configure(self, *, key: str, max_bytes: int, max_age: float) -> None:
        """Take another key and other limits."""
        owner = hashlib.blake2b(key.encode(), digest_size=16, person=b"mlxd responses")
        self._own = self._folder / owner.hexdigest()
        self._max_bytes = max_bytes
        self._max_age = max_age

    async def save(self, stored: StoredResponse, owner: str = "") -> None:
        """Keep a response, or replace it; on a full disk, in memory for the time being."""
        await asyncio.to_thread(self._save, stored, owner)

    async def load(self, response_id: str, owner: str = "") -> StoredResponse | None:
        """Return a response; None if the owner has none with this id."""
        return await asyncio.to_thread(self._load, response_id, owner)

    async def size(self, response_id: str, owner: str = "") -> int:
        """Return how many bytes a response has, 0 if the owner has none with this id."""
        return await asyncio.to_thread(self._size_of, response_id, owner)

    async def delete(self, response_id: str, owner: str = "") -> bool:
        """Delete a response; return whether there was one."""
        return await asyncio.to_thread(self._delete, response_id, owner)

    def sweep(self) -> None:
        """Delete responses that are too old or too many, and files that were never finished."""
        with self._lock:
            self._sweep()

    def _save(self, stored: StoredResponse, owner: str) -> None:
        file = self._file(stored.response["id"], owner)
        data = msgspec.json.encode(stored)
        if file is None or len(data) > min(self._max_bytes, LARGEST):
            _log.warning("a response of %d bytes is not kept (responses.max_bytes)", len(data))
            return
        with self._lock:
            self._held.pop(file, None)
            self._held[file] = data
            try:
                for each in [*self._held]:
                    self._write(each, self._held[each])
                    del self._held[each]
            except OSError as error:
                _log.warning("a response is not on the disk yet: %s", error)
                self._drop_oldest_held()
                return
            late = time.monotonic() > self._swept + _SWEEP_SECONDS
            if self._size is None or self._size > self._max_bytes or late:
                self._sweep()

    def _write(self, file: Path, data: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        before = _size_of(file)
        write_atomically(file, data)
        if self._size is not None:
            self._size += len(data) - before

    def _drop_oldest_held(self) -> None:
        size = sum(map(len, self._held.values()))
        for oldest in [*self._held][:-1]:
            if size <= _HELD_BYTES:
                break
            size -= len(self._held.pop(oldest))

    def _load(self, response_id: str, owner: str) -> StoredResponse | None:
        file = self._file(response_id, owner)
        if file is None:
            return None
        with self._lock:
            held = self._held.get(file)
        try:
            if held is not None:
                return msgspec.json.decode(held, type=StoredResponse)
            if file.stat().st_mtime + self._max_age < time.time():
                return None
            return msgspec.json.decode(file.read_bytes(), type=StoredResponse)
        except (OSError, msgspec.DecodeError):
            return None

    def _size_of(self, response_id: str, owner: str) -> int:
        if (file := self._file(response_id, owner)) is None:
            return 0
        with self._lock:
            held = self._held.get(file)
        return _size_of(file) if held is None else len(held)

    def _delete(self, response_id: str, owner: str) -> bool:
        file = self._file(response_id, owner)
        if file is None:
            return False
        with self._lock:
            held = self._held.pop(file, None) is not None
            return _remove(file) or held

    def _file(self, response_id: str, owner: str) -> Path | None:
        """Return the path of a response; None if the id cannot be one of ours."""
        if not _ID.fullmatch(response_id):
            return None
        folder = self._folder / owner if owner else self._own
        return folder / f"{response_id}.json"

    def _sweep(self) -> None:
        now = time.time()
        kept: list[tuple[float, int, Path]] = []
        for file in self._files():
            try:
                status = file.stat()
            except OSError:
                continue
            limit = _ABANDONED_SECONDS if file.name.startswith(".") else self._max_age
            if status.st_mtime + limit < now:
                _remove(file)
            elif not file.name.startswith("."):
                kept.append((status.st_mtime, status.st_size, file))
        size = sum(entry[1] for entry in kept)
        if size > self._max_bytes:
            for _, one, file in sorted(kept):
                if size <= self._max_bytes * _KEPT_SHARE:
                    break
                if _remove(file):
                    size -= one
        self._size, self._swept = size, time.monotonic()

    def _files(self) -> Iterator[Path]:
        return self._folder.glob("*/*.json*")


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _remove(file: Path) -> bool:
    try:
        file.unlink()
    except OSError:
        return False
    return True
