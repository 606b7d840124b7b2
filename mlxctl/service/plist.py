"""The property list that launchd is given."""

from pathlib import Path
from typing import Any

from mlxctl.service.description import OPEN_FILES, UMASK, Description, Mode, describe

LABEL = "dev.mlxd"
AQUA = "Aqua"
BACKGROUND = "Background"

_THROTTLE_SECONDS = 5

Plist = dict[str, Any]


def is_current(found: Plist, label: str) -> bool:
    """Whether `found` is what `mlxctl install` would write now for the same mode and environment.

    Raises:
        ConfigError, CommandFailed: as `describe`.
    """
    environment = found.get("EnvironmentVariables")
    own = environment if isinstance(environment, dict) else {}
    same = {str(name): str(value) for name, value in own.items()}
    session = BACKGROUND if found.get("LimitLoadToSessionType") == BACKGROUND else AQUA
    service = describe(mode_of(found), same, str(found.get("UserName", "")))
    return found == make(service, label, session)


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
