"""Who may read and write our files, and whether there is room for more."""

import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, bad, good, warning
from mlxctl.terminal import shown
from mlxd import paths
from mlxd.units import size

_OTHERS = 0o077
_LITTLE = 10_000_000_000
_TOO_LITTLE = 1_000_000_000
_TOO_LITTLE_FOR_LOG = 100_000_000
_MORE_ROOM = "mlxctl list  # and then: mlxctl rm MODEL"
_LARGE_OUTPUT = 1_000_000


def permissions(situation: Facts) -> Iterator[Finding]:
    """Whether the socket and the key are for their owner alone, and the folders ours to write."""
    findings = [*_private(situation), *_ours()]
    yield from findings or [good("permissions", "our files are ours alone")]


def disk(_situation: Facts) -> Iterator[Finding]:
    """Whether there is room for models and for the log, which may be on different disks."""
    models, log = paths.models_dir(), paths.log_dir()
    try:
        free = shutil.disk_usage(_nearest(models)).free
        elsewhere = os.stat(_nearest(models)).st_dev != os.stat(_nearest(log)).st_dev
        free_for_log = shutil.disk_usage(_nearest(log)).free if elsewhere else free
    except OSError as error:
        yield bad("disk", f"{error.filename}: {error.strerror}")
        return
    text = f"{size(free)} free for {shown(models)}"
    if free < _TOO_LITTLE:
        yield bad("disk", text, _MORE_ROOM)
    elif free < _LITTLE:
        yield warning("disk", text, _MORE_ROOM)
    else:
        yield good("disk", text)
    if free_for_log < _TOO_LITTLE_FOR_LOG:
        quoted = shlex.quote(str(log))
        yield bad("disk", f"{size(free_for_log)} free for {shown(log)}", f"df -h {quoted}")


def standard_error(_situation: Facts) -> Iterator[Finding]:
    """Whether what is printed beside the log has grown, as where no start succeeds."""
    file = paths.stderr_file()
    try:
        grown = file.stat().st_size
    except OSError:
        return
    if grown > _LARGE_OUTPUT:
        quoted = shlex.quote(str(file))
        yield warning(
            "output",
            f"{shown(file)} has {size(grown)}: mlxd fails again and again",
            f"tail {quoted}",
        )


def _private(situation: Facts) -> Iterator[Finding]:
    config = situation.config
    if config is None:
        return
    for file in (paths.runtime_dir(), config.socket_file()):
        if (mode := _mode(file)) & _OTHERS:
            allowed = "700" if file.is_dir() else "600"
            yield bad(
                "permissions",
                f"{shown(file)} is open to other users (mode {mode:o}), who could use mlxd",
                f"chmod {allowed} {shlex.quote(str(file))}",
            )
    for file in (paths.config_file(), paths.settings_file()):
        if (mode := _mode(file)) & _OTHERS and config.server.api_key and _names_key(file):
            yield warning(
                "permissions",
                f"other users may read server.api_key in {shown(file)} (mode {mode:o})",
                f"chmod 600 {shlex.quote(str(file))}",
            )


def _names_key(file: Path) -> bool:
    try:
        return b"api_key" in file.read_bytes()
    except OSError:
        return False


def _mode(file: Path) -> int:
    """Give the permissions of `file`, none where it cannot be seen."""
    try:
        return stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return 0


def _ours() -> Iterator[Finding]:
    folders = [paths.config_dir(), paths.models_dir(), paths.log_dir(), paths.runtime_dir()]
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            quoted = shlex.quote(str(folder))
            yield bad("permissions", f"{shown(folder)} is no folder", f"mv {quoted} {quoted}.old")
    files = [paths.settings_file(), paths.log_file(), paths.stderr_file(), paths.lock_file()]
    for place in dict.fromkeys([*map(_nearest, folders), *files]):
        wanted = os.W_OK | os.X_OK if place.is_dir() else os.W_OK
        if place.exists() and not os.access(place, wanted):
            yield bad(
                "permissions",
                f"{shown(place)} cannot be written",
                f"sudo chown -R $(id -un) {shlex.quote(str(place))}",
            )


def _nearest(folder: Path) -> Path:
    """Give `folder`, or what there is of the way to it."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder
