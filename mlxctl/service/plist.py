"""The property list that launchd is given, and the table of launchd.plist(5) it is checked against.

launchd ignores a key that it does not know and refuses a whole plist for one of a wrong type, and
tells neither; so both are found out here.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlxctl.service.description import OPEN_FILES, UMASK, Description, Mode

LABEL = "dev.mlxd"
AQUA = "Aqua"
BACKGROUND = "Background"

_THROTTLE_SECONDS = 5

_SEAL = b"<!-- Written by mlxctl install (%s); mlxctl keeps it up to date until it is edited. -->\n"
_SEALED = re.compile(re.escape(_SEAL).replace(b"%s", b"([0-9a-f]{16})"))
_BEFORE = b"<plist "

Plist = dict[str, Any]

_STRINGS = [str]
_ENVIRONMENT = {str: str}
_LIMITS = dict.fromkeys(
    (
        "Core",
        "CPU",
        "Data",
        "FileSize",
        "MemoryLock",
        "NumberOfFiles",
        "NumberOfProcesses",
        "ResidentSetSize",
        "Stack",
    ),
    int,
)
_CALENDAR = dict.fromkeys(("Minute", "Hour", "Day", "Weekday", "Month"), int)
_SOCKET = {
    "SockType": str,
    "SockPassive": bool,
    "SockNodeName": str,
    "SockServiceName": (str, int),
    "SockFamily": str,
    "SockProtocol": str,
    "SockPathName": str,
    "SecureSocketWithKey": str,
    "SockPathOwner": int,
    "SockPathGroup": int,
    "SockPathMode": int,
    "Bonjour": (bool, str, _STRINGS),
    "MulticastGroup": str,
    "ReceivePacketInfo": bool,
}
KEYS: Mapping[str, Any] = {
    "Label": str,
    "Disabled": bool,
    "UserName": str,
    "GroupName": str,
    "inetdCompatibility": {"Wait": bool},
    "LimitLoadToHosts": _STRINGS,
    "LimitLoadFromHosts": _STRINGS,
    "LimitLoadToSessionType": (str, _STRINGS),
    "LimitLoadToHardware": {str: _STRINGS},
    "LimitLoadFromHardware": {str: _STRINGS},
    "Program": str,
    "BundleProgram": str,
    "ProgramArguments": _STRINGS,
    "EnableGlobbing": bool,
    "EnableTransactions": bool,
    "EnablePressuredExit": bool,
    "KeepAlive": (
        bool,
        {
            "SuccessfulExit": bool,
            "NetworkState": bool,
            "PathState": {str: bool},
            "OtherJobEnabled": {str: bool},
            "Crashed": bool,
            "AfterInitialDemand": bool,
        },
    ),
    "RunAtLoad": bool,
    "RootDirectory": str,
    "WorkingDirectory": str,
    "EnvironmentVariables": _ENVIRONMENT,
    "Umask": (int, str),
    "TimeOut": int,
    "ExitTimeOut": int,
    "ThrottleInterval": int,
    "InitGroups": bool,
    "WatchPaths": _STRINGS,
    "QueueDirectories": _STRINGS,
    "StartOnMount": bool,
    "StartInterval": int,
    "StartCalendarInterval": (_CALENDAR, [_CALENDAR]),
    "StandardInPath": str,
    "StandardOutPath": str,
    "StandardErrorPath": str,
    "Debug": bool,
    "WaitForDebugger": bool,
    "SoftResourceLimits": _LIMITS,
    "HardResourceLimits": _LIMITS,
    "Nice": int,
    "ProcessType": str,
    "AbandonProcessGroup": bool,
    "LowPriorityIO": bool,
    "LowPriorityBackgroundIO": bool,
    "MaterializeDatalessFiles": bool,
    "LaunchOnlyOnce": bool,
    "MachServices": {str: (bool, {"ResetAtClose": bool, "HideUntilCheckIn": bool})},
    "Sockets": {str: (_SOCKET, [_SOCKET])},
    "LaunchEvents": {str: {str: dict}},
    "HopefullyExitsLast": bool,
    "HopefullyExitsFirst": bool,
    "SessionCreate": bool,
    "LegacyTimers": bool,
    "AssociatedBundleIdentifiers": (str, _STRINGS),
}
"""The keys of launchd.plist(5) and their types: a tuple is a choice, a list one of any length, a
table one of these keys, and a table of `str` one of any names."""


def make(service: Description, label: str, session: str = AQUA) -> Plist:
    """Give the plist of `service`; `session` is BACKGROUND for a user who logs in by SSH only."""
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
        # A wrong configuration ends with 0, and is left alone; see mlxd.__main__.
        plist["KeepAlive"] = {"SuccessfulExit": False}
    return plist


def render(plist: Plist) -> bytes:
    """Give the plist as XML.

    Raises:
        ValueError: it is not what launchd.plist(5) allows.
    """
    import plistlib  # a fifth of what `mlxctl status` may take

    if wrong := list(complaints(plist)):
        raise ValueError("; ".join(wrong))
    return plistlib.dumps(plist, sort_keys=False)


def sealed(content: bytes) -> bytes:
    """Give the XML `content` with a line that tells whether anybody has edited it since."""
    head, tag, rest = content.partition(_BEFORE)
    return head + _SEAL.replace(b"%s", _digest(content)) + tag + rest


def is_untouched(content: bytes) -> bool:
    """Whether `content` is what `sealed` gave, to the letter."""
    seal = _SEALED.search(content)
    return seal is not None and seal[1] == _digest(_SEALED.sub(b"", content))


def _digest(content: bytes) -> bytes:
    import hashlib  # as plistlib, nothing that `mlxctl status` asks for

    return hashlib.sha256(content).hexdigest()[:16].encode()


def complaints(plist: Mapping[str, Any]) -> Iterator[str]:
    """Say what launchd would ignore or refuse."""
    if "Label" not in plist:
        yield "Label is missing"
    if "Program" not in plist and "ProgramArguments" not in plist:
        yield "ProgramArguments is missing"
    yield from _compare("", plist, KEYS)


def mode_of(plist: Mapping[str, Any]) -> Mode:
    """Give when launchd starts what `plist` describes."""
    if "UserName" in plist:
        return Mode.SYSTEM
    return Mode.AT_LOGIN if plist.get("RunAtLoad") else Mode.ON_DEMAND


def session_of(domain: str) -> str:
    """Give the session a plist has to be limited to so that it can be loaded into `domain`."""
    return BACKGROUND if domain.startswith("user/") else AQUA


def _sockets(service: Description) -> Plist:
    # launchd wants the mode in decimal: this is 384.
    local = {"SockPathName": service.socket, "SockPathMode": 0o600, "SockType": "stream"}
    if service.mode is Mode.SYSTEM:
        local["SockPathOwner"] = service.user_id  # or else root's alone
    sockets: Plist = {"local": local}
    if service.host:
        http = {
            "SockNodeName": service.host,
            "SockServiceName": str(service.port),
            "SockType": "stream",
        }
        if family := _family(service.host):
            http["SockFamily"] = family
        sockets["http"] = http
    return sockets


def _family(host: str) -> str | None:
    """Give the family of an address; None for a name, which may have both."""
    if ":" in host:
        return "IPv6"
    return "IPv4" if host.replace(".", "").isdigit() else None


def _compare(where: str, value: object, expected: Any) -> Iterator[str]:
    if isinstance(expected, tuple):
        # What is said of an entry tells more than that the whole is of another type.
        fit = [each for each in expected if isinstance(value, _kind(each))]
        found = [list(_compare(where, value, each)) for each in fit or expected]
        yield from min(found, key=len)
    elif isinstance(expected, list):
        if not isinstance(value, list):
            yield f"{where} is no list"
            return
        for index, entry in enumerate(value):
            yield from _compare(f"{where}[{index}]", entry, expected[0])
    elif isinstance(expected, Mapping):
        if not isinstance(value, Mapping):
            yield f"{where} is no table"
            return
        for name, entry in value.items():
            known = expected.get(name, expected.get(str))
            inner = f"{where}.{name}" if where else str(name)
            if known is None:
                yield f"{inner} is unknown to launchd"
            else:
                yield from _compare(inner, entry, known)
    elif type(value) is not expected:  # True is an int as well
        yield f"{where} is {type(value).__name__} and has to be {expected.__name__}"


def _kind(expected: Any) -> type:
    if isinstance(expected, type):
        return expected
    return list if isinstance(expected, list) else dict
