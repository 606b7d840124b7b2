"""The sockets of a daemon that ends, given to the one after it: meanwhile connections wait.

Where no service manager keeps them, `mlxctl restart` does, for as long as the change takes. It
makes a Unix socket, has the old daemon send them there (SCM_RIGHTS), and starts the new one with
`MLXD_SOCKETS` in its environment, and with what the old one says it was started with.
"""

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

from mlxd import control_api
from mlxd.activation import Activated
from mlxd.control_api import SOCKETS_VARIABLE
from mlxd.errors import Draining, InvalidRequest, StartupError

_GIVEN, _OWN = "given", "own"


@dataclass
class Handed:
    """What a daemon listens on: sockets it was `given` and never asks about, and its `own`.

    Its own ones are those that the configuration names, and another configuration names others.
    """

    given: Activated = field(default_factory=Activated)
    own: list[socket.socket] = field(default_factory=list)


class Handover:
    """Gives away what one daemon listens on; `stop` then ends it."""

    def __init__(
        self, sockets: Handed, launch: control_api.Launch, stop: Callable[[], None]
    ) -> None:
        self._sockets = sockets
        self._launch = launch
        self._stop = stop
        self.done = False

    def give(self, receiver: str) -> control_api.HandoverReply:
        """Send the sockets to who listens on the Unix socket `receiver`, and have the daemon end.

        Raises:
            InvalidRequest: nobody listens there.
            Draining: they have been given away already.
        """
        if self.done:
            raise Draining("mlxd is being restarted already")
        given, own = self._sockets.given.all, self._sockets.own
        sockets, kinds = [*given, *own], [_GIVEN] * len(given) + [_OWN] * len(own)
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.setblocking(False)
                link.connect(receiver)
                message = ",".join(kinds).encode()
                socket.send_fds(link, [message], [each.fileno() for each in sockets])
        except OSError as error:
            why = error.strerror or str(error)
            raise InvalidRequest(f"{receiver}: {why}", param="receiver") from error
        self.done = True
        self._stop()
        return control_api.HandoverReply(sockets=len(sockets), launch=self._launch)


def launch(
    arguments: Sequence[str] = sys.argv[1:], environ: Mapping[str, str] = os.environ
) -> control_api.Launch:
    """Tell how this process was started."""
    try:
        folder = os.getcwdb()
    except FileNotFoundError:
        folder = b"/"
    return control_api.Launch(
        arguments=[os.fsencode(each) for each in arguments],
        environment={
            name: os.fsencode(value) for name, value in environ.items() if name.startswith("MLXD_")
        },
        folder=folder,
    )


def take(environ: MutableMapping[str, str] = os.environ) -> Handed:
    """Take over the sockets of the daemon before this one; to be called once.

    The variable that announces them is removed, since they are no children's business.

    Raises:
        StartupError: the variable does not name listening sockets.
    """
    handed = Handed()
    with contextlib.ExitStack() as stack:
        for name in filter(None, environ.pop(SOCKETS_VARIABLE, "").split(",")):
            descriptor, _, kind = name.partition(":")
            try:
                listener = stack.enter_context(socket.socket(fileno=int(descriptor)))
                listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            except (ValueError, OSError) as error:
                raise StartupError(f"{SOCKETS_VARIABLE}: {descriptor} is no socket") from error
            if not listens:
                raise StartupError(f"{SOCKETS_VARIABLE}: nobody listens on {descriptor}")
            listener.set_inheritable(False)
            listener.setblocking(False)
            if kind == _OWN:
                handed.own.append(listener)
            elif listener.family == socket.AF_UNIX:
                handed.given.local = listener
            else:
                handed.given.tcp.append(listener)
        stack.pop_all()
    return handed
