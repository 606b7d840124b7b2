"""The API keys as the daemon knows them: read again when their file changes."""

import contextlib
import hmac
import logging
import threading
import time
from pathlib import Path

import msgspec

from mlxd import keys
from mlxd.errors import ConfigError
from mlxd.files import write_atomically
from mlxd.keys import ApiKey

_USE_SECONDS = 60.0
"""How old the noted use of a key may become while it is in use."""

_log = logging.getLogger("mlxd.keys")


class KeyRing:
    """The keys as they are now, for the daemon: `refresh` takes in a change of `file`.

    `fault` says why the file cannot be read; the keys then stay as they were, the log says so, and
    the next request tries again.
    """

    def __init__(self, file: Path, uses_file: Path) -> None:
        self._file = file
        self._uses_file = uses_file
        self._seen: tuple[int, int, int] | None = None
        self._keys: list[ApiKey] = []
        self._uses = keys.last_uses(uses_file)
        self._writing = threading.Lock()
        self._needed = False
        self.fault: str | None = None
        self._look()

    @property
    def needed(self) -> bool:
        """Whether clients need a key: `file` exists, or has existed since the start."""
        return self._needed

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        before = self.fault
        self._look()
        if self.fault not in (None, before):
            _log.warning("%s; the keys before stay", self.fault)

    def _look(self) -> None:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            self._seen, self._keys, self.fault = None, [], None
            return
        except OSError as error:
            self._needed, self.fault = True, f"{self._file}: {error.strerror}"
            return
        self._needed = True
        seen = found.st_mtime_ns, found.st_ino, found.st_size
        if seen == self._seen:
            self.fault = None
            return
        try:
            self._keys, self.fault = keys.read(self._file) or [], None
        except ConfigError as error:
            self.fault = error.message
        else:
            self._seen = seen

    def find(self, text: bytes) -> ApiKey | None:
        """Return the key with that text, expired or not, in a time that does not depend on it."""
        digest = keys.digest_of(text)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def use(self, key: ApiKey) -> bool:
        """Note that a key is used now; return whether it is time to call `save_uses`."""
        now = time.time()
        due = not 0 <= now - self._uses.get(key.digest, -_USE_SECONDS) < _USE_SECONDS
        if due:
            self._uses[key.digest] = now
        return due

    def save_uses(self) -> None:
        """Write when each key was last used, unless the disk is full; callable from any thread."""
        known = {key.digest for key in list(self._keys)}
        uses = {digest: used for digest, used in list(self._uses.items()) if digest in known}
        with contextlib.suppress(OSError), self._writing:
            self._uses_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self._uses_file, msgspec.json.encode(uses))
