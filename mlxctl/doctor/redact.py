"""Removing private parts from a report.

Secrets are masked everywhere: those in the configuration and the environment, values with the name
of a secret, and what looks like one. The names of the user, the home folder and the machine, and
addresses of other machines, are replaced.
"""

import contextlib
import getpass
import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping

MASK = "***"

_HIDDEN = (
    r"(?:token(?!s|i)|(?:api|access)[_-]?key|secret|passw(?:or)?d|credential|authorization|cookie)"
)
_IS_SECRET = re.compile(_HIDDEN, re.IGNORECASE)
_SHORTEST = 6  # or "true" and "false" would be masked everywhere
# NAME=value, "name": "value", name = value and <key>NAME</key><string>value</string>
_ASSIGNED = re.compile(
    rf"""([\w.-]*{_HIDDEN}[\w.-]*["']?\s*(?:=|:|</key>\s*<string>)\s*)"""
    r"""("(?:[^"\\\n]|\\.)+"|'[^'\n]+'|(?:(?:bearer|basic)\s+)?[^\s"'<>,;]+)""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE)
_LOOKS_SECRET = re.compile(r"\b(?:hf_|sk-|ghp_|gho_|github_pat_|xox[bp]-)[\w-]{8,}")
_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s\"']+@", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:])[0-9a-f]*:[0-9a-f:]*:[0-9a-f:.]*(?![\w:])", re.IGNORECASE)
_PUBLIC_NAMES = {"root", "daemon", "nobody", "mlxd", "mlxctl", "localhost", "users", "home"}


def without_private_parts(text: str, environ: Mapping[str, str], secrets: Iterable[str]) -> str:
    """Return `text` without private parts, `secrets` and those of `environ` included."""
    known = [value for name, value in environ.items() if _IS_SECRET.search(name)]
    for secret in sorted({*secrets, *known}, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, MASK)
    text = _USERINFO.sub(rf"\1{MASK}@", text)
    text = _ASSIGNED.sub(rf"\1{MASK}", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    text = _LOOKS_SECRET.sub(MASK, text)
    for folder in _homes(environ):
        text = re.sub(rf"{re.escape(folder)}(?![\w.-])", "~", text)
    for name, public in _names(environ):
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", public, text, flags=re.IGNORECASE)
    text = _IPV4.sub(_address, text)
    return _IPV6.sub(_address, text)


def _homes(environ: Mapping[str, str]) -> list[str]:
    homes = {os.path.expanduser("~"), environ.get("HOME", "")}
    homes |= {os.path.realpath(home) for home in homes if home}
    return sorted((home.rstrip("/") for home in homes if len(home) > 1), key=len, reverse=True)


def _names(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the names of this user and this machine, each with its replacement."""
    users = {environ.get("USER", ""), environ.get("LOGNAME", ""), environ.get("SUDO_USER", "")}
    with contextlib.suppress(KeyError, OSError):  # there is no such account
        users.add(getpass.getuser())
    users |= {os.path.basename(home) for home in _homes(environ)}
    host = socket.gethostname()
    hosts = {host, host.partition(".")[0]}
    for names, public in ((hosts, "HOST"), (users, "USER")):
        for name in sorted(names, key=len, reverse=True):
            if len(name) > 2 and name.lower() not in _PUBLIC_NAMES:
                yield name, public


def _address(match: re.Match[str]) -> str:
    try:
        found = ipaddress.ip_address(match[0])
    except ValueError:
        return match[0]
    return match[0] if found.is_loopback or found.is_unspecified else "ADDRESS"
