"""Sockets that a service manager, launchd or systemd, has opened and keeps.

Their names are `http` for TCP and `local` for the Unix socket. The service manager listens while no
daemon runs: a connection made then waits in the kernel, and starts a daemon.
"""

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field

from mlxd.errors import StartupError

_FIRST_FD = 3  # SD_LISTEN_FDS_START
_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_HTTP, _LOCAL = "http", "local"
_LAUNCHD_LABELS = ("dev.mlxd", "homebrew.mxcl.mlxd")


@dataclass
class Activated:
    """The sockets that this process was given; none where it binds its own."""

    tcp: list[socket.socket] = field(default_factory=list)
    local: socket.socket | None = None

    @property
    def all(self) -> list[socket.socket]:
        """Both kinds."""
        return [*self.tcp, *([self.local] if self.local else [])]

    def __bool__(self) -> bool:
        return bool(self.all)


def take(environ: MutableMapping[str, str] = os.environ) -> Activated:
    """Take over the sockets meant for this process; call it once.

    Removes the variables that announce them, which are not meant for child processes.

    Raises:
        StartupError: one of them is not a socket that can be listened on, or of the wrong kind.
    """
    activated = Activated()
    with contextlib.ExitStack() as stack:
        for name, descriptor in [*_from_systemd(environ), *_from_launchd()]:
            listener = stack.enter_context(_listener(name, descriptor))
            kind = _LOCAL if listener.family == socket.AF_UNIX else _HTTP
            if name != kind and name in (_HTTP, _LOCAL):
                raise _unfit(name, f"is of the wrong kind: its name must be {kind!r}")
            if kind == _HTTP:
                activated.tcp.append(listener)
            elif activated.local is None:
                activated.local = listener
            else:
                raise _unfit(name, "is a second Unix socket")
        stack.pop_all()
    return activated


def turn_away() -> None:
    """Close the connections that wait, for a process that ends without serving them.

    Otherwise they would start the daemon again at once, forever.
    """
    with contextlib.suppress(StartupError):
        for listener in take().all:
            with contextlib.suppress(BlockingIOError):
                while True:
                    listener.accept()[0].close()


def under_launchd(environ: MutableMapping[str, str] = os.environ) -> bool:
    """Whether launchd started this process, as mlxd's own service or as Homebrew's."""
    name = environ.get("XPC_SERVICE_NAME", "")
    return name in _LAUNCHD_LABELS or name.startswith(f"{_LAUNCHD_LABELS[0]}.")


def _listener(name: str, descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        listener = socket.socket(fileno=descriptor)
    except OSError as error:
        raise _unfit(name, "is not a socket") from error
    listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if listener.type != socket.SOCK_STREAM or not listens:
        listener.close()
        raise _unfit(name, "is not a listening stream socket")
    listener.setblocking(False)
    return listener


def _unfit(name: str, why: str) -> StartupError:
    return StartupError(f"the activated socket {name!r} {why}")


def _from_systemd(environ: MutableMapping[str, str]) -> Iterator[tuple[str, int]]:
    """Yield name and descriptor of each socket that sd_listen_fds(3) describes."""
    values = {name: environ.pop(name, "") for name in _VARIABLES}
    if values["LISTEN_PID"] != str(os.getpid()) or not values["LISTEN_FDS"].isdigit():
        return
    names = values["LISTEN_FDNAMES"].split(":")
    for index in range(int(values["LISTEN_FDS"])):
        yield names[index] if index < len(names) else "unknown", _FIRST_FD + index


def _from_launchd() -> Iterator[tuple[str, int]]:
    """Yield name and descriptor of each socket of launch_activate_socket(3); on a Mac only.

    An error means that there is no such socket: ESRCH where launchd did not start this process,
    ENOENT where its plist has none of that name, EALREADY where it was taken before.
    """
    library = ctypes.CDLL(None)
    try:
        activate = library.launch_activate_socket
    except AttributeError:
        return
    activate.argtypes = (
        ctypes.c_char_p,
        ctypes.POINTER(ctypes.POINTER(ctypes.c_int)),
        ctypes.POINTER(ctypes.c_size_t),
    )
    activate.restype = ctypes.c_int
    library.free.argtypes = (ctypes.c_void_p,)
    library.free.restype = None
    for name in (_HTTP, _LOCAL):
        found, count = ctypes.POINTER(ctypes.c_int)(), ctypes.c_size_t()
        if activate(name.encode(), ctypes.byref(found), ctypes.byref(count)) != 0:
            continue
        descriptors = found[: count.value]
        library.free(found)
        for descriptor in descriptors:
            yield name, descriptor
