"""How a daemon was started and how it ended: a JSON file beside the lock, for `mlxctl`.

`mlxd.__main__` writes it while it holds the lock. A daemon that crashed or was killed leaves a
record without an end.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from mlxd.errors import ConfigError, MlxdError
from mlxd.files import write_atomically

SECRETS = frozenset({"MLXD_SERVER__API_KEY", "MLXD_HUB__TOKEN", "MLXD_HUB__PROXY"})
"""The variables whose values stay out of files."""

_VARIABLES = "MLXD_"


class RunEnd(msgspec.Struct, frozen=True):
    """How a daemon ended; `message` is the error that ended it.

    `configuration` is an error in the configuration, `failed` any other one. `crashed` stands for
    a daemon that left no word: an unexpected exception, a kill, a power failure.
    """

    how: Literal["stopped", "failed", "configuration", "crashed"]
    message: str = ""

    def __str__(self) -> str:
        return f"{self.how}: {self.message}" if self.message else self.how


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the daemon.

    `environment` holds its `MLXD_…` variables, of `SECRETS` only the names, in `secrets`.
    `ended` is None while it runs; `previous` is how the run before it ended, if there was one.
    """

    pid: int
    started_at: float
    arguments: list[str]
    environment: dict[str, str]
    secrets: list[str] = []
    folder: str
    ended: RunEnd | None = None
    previous: RunEnd | None = None

    @property
    def end(self) -> RunEnd:
        """How it ended, if it no longer runs."""
        return self.ended or RunEnd("crashed")


def read(file: Path) -> RunRecord | None:
    """Return the record in `file`, or None if there is none that can be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=RunRecord)
    except (OSError, msgspec.DecodeError):
        return None


@contextlib.contextmanager
def recorded(file: Path) -> Iterator[None]:
    """Write how this process was started and, after the block, how it ended.

    The folder of `file` must exist. A record that cannot be written stops no daemon.
    """
    before = read(file)
    record = RunRecord(
        pid=os.getpid(),
        started_at=time.time(),
        arguments=sys.argv[1:],
        environment={
            name: value
            for name, value in os.environ.items()
            if name.startswith(_VARIABLES) and name not in SECRETS
        },
        secrets=sorted(name for name in SECRETS if os.environ.get(name)),
        folder=_folder(),
        previous=before.end if before else None,
    )
    _write(file, record)
    try:
        yield
    except MlxdError as error:
        how: Literal["failed", "configuration"] = "failed"
        if isinstance(error, ConfigError):
            how = "configuration"
        _write(file, replace(record, ended=RunEnd(how, error.message)))
        raise
    _write(file, replace(record, ended=RunEnd("stopped")))


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


def _write(file: Path, record: RunRecord) -> None:
    with contextlib.suppress(OSError, UnicodeEncodeError):
        write_atomically(file, msgspec.json.format(msgspec.json.encode(record)))
