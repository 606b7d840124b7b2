"""The API keys that `mlxctl key` gives out, in files that mlxctl and the daemon share.

    keys.json      each key's hash and what it may do; mlxctl writes it
    key_uses.json  when each key was last used; the daemon writes it

Where keys.json exists, TCP clients need a key, even if it lists none. A key has 256 random bits, so
nobody can guess it from a plain hash.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from mlxd.errors import ConfigError
from mlxd.files import write_atomically

Right = Literal["ask", "metrics", "pull", "manage"]
"""What a key may do: use the models, see what the daemon does, download other models, and change or
unload those there are."""
RIGHTS: tuple[Right, ...] = get_args(Right)
MOST_KEYS = 1000

_PREFIX = "mlxd-"
_RANDOM_BYTES = 32
_MOST_BYTES = 4_000_000
_Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one key may use. None: as [limits] says; 0: no limit, except for `queued`."""

    running: _Count | None = None
    queued: _Count | None = None
    requests_per_minute: _Count | None = None
    tokens_per_minute: _Count | None = None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key: `digest` is the SHA-256 of its text, in hex, and times are in Unix seconds.

    `models` are the ids of those it may use, in which `*` stands for any text; none for all.
    """

    name: str
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    created: float
    expires: float | None = None
    rights: list[Right] = msgspec.field(default_factory=lambda: ["ask"])
    models: list[str] = []
    limits: KeyLimits = KeyLimits()

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= time.time()

    @property
    def salt(self) -> str:
        """A text that differs for each key, and from which the key cannot be found out."""
        return hashlib.sha256(b"salt " + self.digest.encode()).hexdigest()[:32]


class _File(msgspec.Struct, frozen=True):
    keys: Annotated[list[ApiKey], Meta(max_length=MOST_KEYS)] = []


def read(file: Path) -> list[ApiKey] | None:
    """Return the keys in `file`, None if there is no such file.

    Raises:
        ConfigError: it cannot be read, or is not as mlxctl writes it.
    """
    try:
        with file.open("rb") as opened:
            return msgspec.json.decode(opened.read(_MOST_BYTES), type=_File).keys
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{file} is damaged ({error}): restore it, or remove it") from error


def create(
    file: Path,
    name: str,
    *,
    rights: list[Right],
    models: list[str],
    expires: float | None,
    limits: KeyLimits,
) -> str:
    """Add a key to `file`, and return its text, which is not saved; `expires` is in Unix seconds.

    Raises:
        ConfigError: there is one of that name, there are too many, or the file is at fault.
    """
    text = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    added = ApiKey(
        name=name,
        digest=digest_of(text.encode()),
        created=time.time(),
        expires=expires,
        rights=rights,
        models=models,
        limits=limits,
    )
    with _locked(file):
        keys = read(file) or []
        if any(key.name == name for key in keys):
            raise ConfigError(f"there is a key {name!r}: choose another name, or revoke that one")
        if len(keys) >= MOST_KEYS:
            raise ConfigError(f"there are {MOST_KEYS} keys, which is the limit: revoke some")
        _write(file, [*keys, added])
    return text


def revoke(file: Path, name: str) -> list[ApiKey]:
    """Remove a key from `file`, and return those that are left.

    Raises:
        ConfigError: there is none of that name, or the file is at fault.
    """
    with _locked(file):
        keys = read(file) or []
        left = [key for key in keys if key.name != name]
        if len(left) == len(keys):
            names = ", ".join(key.name for key in keys)
            known = f"the keys are {names}" if names else "there are no keys"
            raise ConfigError(f"there is no key {name!r}; {known}")
        _write(file, left)
    return left


def digest_of(text: bytes) -> str:
    """Return the `digest` of the key with that text."""
    return hashlib.sha256(text).hexdigest()


def last_uses(file: Path) -> dict[str, float]:
    """Return when each key was last used, to about a minute, by its digest; {} if unknown."""
    with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.json.decode(file.read_bytes(), type=dict[str, float])
    return {}


def _write(file: Path, keys: list[ApiKey]) -> None:
    content = msgspec.json.format(msgspec.json.encode(_File(keys)), indent=2)
    try:
        write_atomically(file, content)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keep other programs from changing `file` meanwhile."""
    lock = file.with_name(f".{file.name}.lock")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{lock} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
