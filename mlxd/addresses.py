"""What a host of the configuration means: which addresses a program listens on."""

import socket
from typing import Any

LOCALHOST = "localhost"

_LOOPBACKS = (
    (socket.AF_INET, "127.0.0.1"),
    (socket.AF_INET6, "::1"),
)

Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""A family, and what `bind` takes in it."""


def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of `host`; those of localhost are both loopbacks, 127.0.0.1 first.

    The system is not asked about localhost: it may know one of the two only, or neither.

    Raises:
        socket.gaierror, UnicodeError: the name cannot be resolved.
    """
    if host.lower() == LOCALHOST:
        return [(family, (loopback, port)) for family, loopback in _LOOPBACKS]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, where) for family, *_, where in found))


def primary(host: str) -> str:
    """Return the address of localhost that a program must have, and that clients are told."""
    return _LOOPBACKS[0][1] if host.lower() == LOCALHOST else host


def loopbacks() -> list[str]:
    """Return the addresses of localhost that this machine has."""
    return [loopback for family, loopback in _LOOPBACKS if _exists(family, loopback)]


def _exists(family: socket.AddressFamily, host: str) -> bool:
    try:
        with socket.socket(family) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
