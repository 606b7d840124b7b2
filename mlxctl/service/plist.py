"""The property list that launchd is given: what it says, and the file that holds it."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlxctl.errors import CommandFailed
from mlxctl.service.description import OPEN_FILES, UMASK, Description, Mode, describe
from mlxd.files import write_atomically

LABEL = "dev.mlxd"
AQUA = "Aqua"
BACKGROUND = "Background"

_THROTTLE_SECONDS = 5

Plist = dict[str, Any]


def wanted(
    label: str, mode: Mode, environment: dict[str, str], session: str, user: str | None = None
) -> Plist:
    """Return what `mlxctl install` writes for a service that runs in `environment`.

    Raises:
        ConfigError, CommandFailed: as `describe`.
    """
    if mode is Mode.SYSTEM:  # launchd gives HOME to the jobs of users only
        environment = {"HOME": os.path.expanduser("~"), **environment}
    return make(describe(mode, environment, user), label, session)


def is_current(found: Plist, label: str) -> bool:
    """Whether `found` is what `mlxctl install` would write now for the same mode and environment.

    Raises:
        ConfigError, CommandFailed: as `describe`.
    """
    environment = found.get("EnvironmentVariables")
    own = environment if isinstance(environment, dict) else {}
    session = BACKGROUND if found.get("LimitLoadToSessionType") == BACKGROUND else AQUA
    user = str(found.get("UserName", ""))
    same = {str(name): str(value) for name, value in own.items()}
    return found == wanted(label, mode_of(found), same, session, user)


def make(service: Description, label: str, session: str = AQUA) -> Plist:
    """Return the plist of `service`; `session` is BACKGROUND for a user logged in by SSH only."""
    plist: Plist = {
        "Label": label,
        "ProgramArguments": list(service.program),
        "EnvironmentVariables": service.environment,
        "ProcessType": "Interactive",  # anything else throttles the processor and the disk
        "ThrottleInterval": _THROTTLE_SECONDS,
        "ExitTimeOut": service.stop_seconds,
        "SoftResourceLimits": {"NumberOfFiles": OPEN_FILES},
        "Umask": UMASK,
        "StandardErrorPath": service.stderr,
        "Sockets": _sockets(service),
    }
    if service.mode is Mode.SYSTEM:
        plist["UserName"] = service.user
    else:
        plist["LimitLoadToSessionType"] = session
    if service.mode is not Mode.ON_DEMAND:
        plist["RunAtLoad"] = True
        # A mistake in the configuration ends the daemon with 0, for good; see mlxd.__main__.
        plist["KeepAlive"] = {"SuccessfulExit": False}
    return plist


def render(plist: Plist) -> bytes:
    """Return the plist as XML."""
    import plistlib  # slow to import, so that only those who need it do

    return plistlib.dumps(plist, sort_keys=False)


def read(file: Path) -> Plist | None:
    """Read a plist; None where there is no file, or one that is not a property list."""
    import plistlib
    from xml.parsers.expat import ExpatError

    try:
        found = plistlib.loads(file.read_bytes())
    except (OSError, ValueError, ExpatError, AttributeError, LookupError, OverflowError):
        return None
    return found if isinstance(found, dict) else None


def write(file: Path, content: bytes, needed: Iterable[Path], user: str | None) -> None:
    """Write a plist in one step, and make the `needed` folders, which launchd does not make.

    Of a service of the whole machine, the folders are its `user`'s.

    Raises:
        CommandFailed: it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        for folder in needed:
            _make_folder(folder, user)
        write_atomically(file, content, 0o644)  # launchd refuses one that others may write
        if user is not None:
            os.chown(file, 0, 0)  # and one that does not belong to root and wheel
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror}") from error


def mode_of(plist: Plist) -> Mode:
    """Return when launchd starts what `plist` describes."""
    if "UserName" in plist:
        return Mode.SYSTEM
    return Mode.AT_LOGIN if plist.get("RunAtLoad") else Mode.ON_DEMAND


def _sockets(service: Description) -> Plist:
    # launchd wants the mode in decimal: 384.
    local = {"SockPathName": service.socket, "SockPathMode": 0o600, "SockType": "stream"}
    if service.mode is Mode.SYSTEM:
        local["SockPathOwner"] = service.user_id  # root's by default
    sockets: Plist = {"local": local}
    if service.host:
        sockets["http"] = {
            "SockNodeName": service.host,
            "SockServiceName": str(service.port),
            "SockType": "stream",
        }
    return sockets


def _make_folder(folder: Path, user: str | None) -> None:
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=0o700)
        if user is not None:
            shutil.chown(missing, user)
