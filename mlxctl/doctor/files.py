"""Who may read and write our files, and whether there is room for more."""

import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from mlxctl.doctor.finding import Finding, bad, good, warning
from mlxctl.doctor.situation import Situation
from mlxctl.text import size
from mlxd import paths

_OTHERS = 0o077
_LITTLE = 10_000_000_000
_TOO_LITTLE = 1_000_000_000
_LARGE_OUTPUT = 1_000_000


def permissions(situation: Situation) -> Iterator[Finding]:
    """Whether the socket and the key are for their owner alone, and the folders ours to write."""
    findings = [*_private(situation), *_ours()]
    yield from findings or [good("permissions", "our files are ours alone")]


def disk(_situation: Situation) -> Iterator[Finding]:
    """Whether there is room for models and for the log."""
    folder = paths.models_dir()
    try:
        free = shutil.disk_usage(_nearest(folder)).free
    except OSError as error:
        yield bad("disk", f"{folder}: {error.strerror}")
        return
    text = f"{size(free)} free for {folder}"
    if free < _TOO_LITTLE:
        yield bad("disk", text, "mlxctl list, then mlxctl rm MODEL")
    elif free < _LITTLE:
        yield warning("disk", text, "mlxctl list, then mlxctl rm MODEL")
    else:
        yield good("disk", text)


def standard_error(_situation: Situation) -> Iterator[Finding]:
    """Whether what is printed beside the log has grown, as where no start succeeds."""
    file = paths.stderr_file()
    try:
        grown = file.stat().st_size
    except OSError:
        return
    if grown > _LARGE_OUTPUT:
        quoted = shlex.quote(str(file))
        yield warning(
            "output", f"{file} has {size(grown)}: mlxd fails again and again", f"tail {quoted}"
        )


def _private(situation: Situation) -> Iterator[Finding]:
    config = situation.config
    if config is None:
        return
    for file in (paths.runtime_dir(), config.socket_file()):
        if (mode := _mode(file)) & _OTHERS:
            allowed = "700" if file.is_dir() else "600"
            yield bad(
                "permissions",
                f"{file} is open to other users (mode {mode:o}), who could use mlxd",
                f"chmod {allowed} {shlex.quote(str(file))}",
            )
    if config.server.api_key and (mode := _mode(paths.config_file())) & _OTHERS:
        yield warning(
            "permissions",
            f"other users may read server.api_key in {paths.config_file()} (mode {mode:o})",
            f"chmod 600 {shlex.quote(str(paths.config_file()))}",
        )


def _mode(file: Path) -> int:
    """Give the permissions of `file`, none where it cannot be seen."""
    try:
        return stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return 0


def _ours() -> Iterator[Finding]:
    folders = [paths.config_dir(), paths.models_dir(), paths.log_dir(), paths.runtime_dir()]
    for folder in dict.fromkeys(map(_nearest, folders)):
        if not os.access(folder, os.W_OK | os.X_OK):
            yield bad(
                "permissions",
                f"{folder} cannot be written",
                f"sudo chown -R $(id -un) {shlex.quote(str(folder))}",
            )


def _nearest(folder: Path) -> Path:
    """Give `folder`, or what there is of the way to it."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder
