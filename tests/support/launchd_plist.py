"""launchd.plist(5) as a table, and what launchd would ignore or refuse in a plist.

launchd ignores a key that it does not know and refuses a whole plist for a value of a wrong type,
and reports neither.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_STRINGS = [str]
_LIMITS = dict.fromkeys(
    (
        *("Core", "CPU", "Data", "FileSize", "MemoryLock", "NumberOfFiles", "NumberOfProcesses"),
        *("ResidentSetSize", "Stack"),
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
    "EnvironmentVariables": {str: str},
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
"""The keys and their types: a tuple is a choice, a list one of any length, a table one of these
keys, and a table of `str` one of any names."""


def complaints(plist: Mapping[str, Any]) -> Iterator[str]:
    """What launchd would ignore or refuse."""
    if "Label" not in plist:
        yield "Label is missing"
    if "Program" not in plist and "ProgramArguments" not in plist:
        yield "ProgramArguments is missing"
    yield from _compare("", plist, KEYS)


def _compare(where: str, value: object, expected: Any) -> Iterator[str]:
    if isinstance(expected, tuple):
        # What is wrong with an entry tells more than that the whole is of another type.
        kinds = {type(each) if not isinstance(each, type) else each: each for each in expected}
        fit = [each for kind, each in kinds.items() if isinstance(value, kind)]
        yield from min((list(_compare(where, value, each)) for each in fit or expected), key=len)
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
