"""The configuration, who may read and write our files, and free space."""

import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, error, ok, warning
from mlxctl.terminal import shown
from mlxd import paths
from mlxd.config import Config
from mlxd.units import size

_OTHERS = 0o077
_LITTLE = 10_000_000_000
_TOO_LITTLE = 1_000_000_000
_MORE_ROOM = "mlxctl list  # and then: mlxctl rm MODEL"


def configuration(facts: Facts) -> Iterator[Finding]:
    """Whether the daemon would start with it."""
    if facts.config_fault is None:
        file = paths.config_file()
        yield ok("configuration", shown(file) if file.exists() else "the defaults")
        return
    for line in facts.config_fault.splitlines():
        yield error("configuration", line, "mlxctl config validate")


def permissions(facts: Facts) -> Iterator[Finding]:
    """Whether others can use the socket or read the key, and whether mlxd can write its files."""
    findings = [*_open_to_others(facts.config), *_not_writable()]
    yield from findings or [ok("permissions", "mlxd's files are yours alone")]


def disk(facts: Facts) -> Iterator[Finding]:  # noqa: ARG001
    """Whether there is space for models."""
    folder = paths.models_dir()
    free = shutil.disk_usage(_nearest(folder)).free
    text = f"{size(free)} free for {shown(folder)}"
    if free < _TOO_LITTLE:
        yield error("disk", text, _MORE_ROOM)
    elif free < _LITTLE:
        yield warning("disk", text, _MORE_ROOM)
    else:
        yield ok("disk", text)


def _open_to_others(config: Config | None) -> Iterator[Finding]:
    if config is None:
        return
    private = {paths.runtime_dir(): error, config.socket_file(): error}
    private[paths.keys_file()] = error
    if config.server.api_key:
        settings = filter(_has_key, (paths.config_file(), paths.settings_file()))
        private |= dict.fromkeys(settings, warning)
    for file, finding in private.items():
        if file.exists() and (mode := stat.S_IMODE(file.stat().st_mode)) & _OTHERS:
            message = f"{shown(file)} is open to other users (mode {mode:o})"
            yield finding("permissions", message, f"chmod go= {shlex.quote(str(file))}")


def _not_writable() -> Iterator[Finding]:
    folders = [paths.config_dir(), paths.models_dir(), paths.log_dir(), paths.runtime_dir()]
    folders.append(paths.prompts_dir())
    files = [paths.settings_file(), paths.log_file(), paths.stderr_file(), paths.lock_file()]
    read_only = set()
    for place in dict.fromkeys([*map(_nearest, folders), *files]):
        if not place.exists():
            continue
        if os.statvfs(place).f_flag & os.ST_RDONLY:
            if (disk := place.stat().st_dev) not in read_only:
                read_only.add(disk)
                yield error("disk", f"{shown(place)} is on a disk that can only be read")
            continue
        wanted = os.W_OK | os.X_OK if place.is_dir() else os.W_OK
        if not os.access(place, wanted):
            fix = f"sudo chown -R $(id -un) {shlex.quote(str(place))}"
            yield error("permissions", f"{shown(place)} cannot be written", fix)


def _has_key(file: Path) -> bool:
    try:
        return b"api_key" in file.read_bytes()
    except OSError:
        return False


def _nearest(folder: Path) -> Path:
    """Return `folder`, or its nearest parent that exists."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder
