"""The models on disk where no daemon runs, which mlxctl does not know how to read.

What does is part of the daemon, and runs as a process of its own.
"""

import subprocess
import sys

import msgspec

from mlxctl.errors import CommandFailed
from mlxd.control_api import ModelListing, PullStatus

_SECONDS = 5.0
_PROGRAM = """
import sys
import msgspec
from mlxd import config, paths
from mlxd.control_api import BrokenModel, CatalogModel, PullStatus
from mlxd.hub.staging import Staging, unfinished
from mlxd.models.catalog import Catalog

catalog = Catalog(config.load().models)
known = [
    CatalogModel(
        id=entry.id, path=str(entry.path), origin=entry.origin, size_bytes=entry.size_bytes,
        architecture=entry.architecture,
    )
    for entry in catalog.entries()
]
broken = [
    BrokenModel(
        id=entry.id, path=str(entry.path), origin=entry.origin, size_bytes=entry.size_bytes,
        fault=entry.fault,
    )
    for entry in catalog.broken()
]
pulls = [
    PullStatus(
        model=pending.reference.repo, revision=pending.reference.revision,
        state="failed" if pending.failed else "queued", cause=pending.failed,
        bytes_done=Staging(paths.models_dir(), pending.reference.repo).size_bytes(),
    )
    for pending in unfinished(paths.models_dir())
]
sys.stdout.buffer.write(
    msgspec.json.encode({"models": {"models": known, "broken": broken}, "pulls": pulls})
)
"""


class ModelsOnDisk(msgspec.Struct, frozen=True):
    """Every model that can be asked for, what is broken, and the downloads that are not done."""

    models: ModelListing
    pulls: list[PullStatus]


def on_disk() -> ModelsOnDisk:
    """Look into the folders of models.

    Raises:
        CommandFailed: that cannot be done, as where the configuration is at fault.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _PROGRAM],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(
            f"the folders of models cannot be read within {_SECONDS:g} s"
        ) from error
    except OSError as error:
        raise CommandFailed(f"{sys.executable}: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it does not say why"]
        raise CommandFailed(f"the folders of models cannot be read: {said[-1]}")
    try:
        return msgspec.json.decode(done.stdout, type=ModelsOnDisk)
    except msgspec.DecodeError as error:
        raise CommandFailed(f"the folders of models cannot be read: {error}") from error
