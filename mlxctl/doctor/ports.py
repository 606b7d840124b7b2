"""Who owns the TCP port: ours, nobody, or somebody else, as two installations of mlxd would."""

import errno
import socket
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, bad, good, warning
from mlxctl.doctor.listening import Listener, listeners
from mlxctl.service.manager import ServiceStatus

_SECONDS = 2.0
_HEAD_BYTES = 4096
_REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_MANAGERS = {"launchd", "systemd"}
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104  nothing is bound
_OTHER = "another program"


def port(situation: Facts) -> Iterator[Finding]:
    """Whether the daemon has its port, and none has it where the daemon does not run."""
    if situation.config is None:
        return
    host, number = situation.config.server.host, situation.config.server.port
    status = situation.status
    if status is not None and status.url:
        url = urlsplit(status.url)
        if number not in (0, url.port):
            message = f"the daemon listens on {url.netloc}, the configuration says port {number}"
            yield warning("port", message, _again(situation))
        host, number = url.hostname or host, url.port or number
    elif number == 0:
        return
    known = listeners(number)
    strangers = [each for each in known if not _is_ours(each, situation)]
    if status is not None:
        yield from _running(host, number, strangers)
    elif any(each.pid == situation.pid for each in known):
        return  # that it does not answer is said already
    elif situation.service is not None and situation.service.keeps_sockets:
        yield from _kept(host, number, strangers, situation.service)
    else:
        yield from _stopped(host, number, strangers)


def _running(host: str, number: int, strangers: Sequence[Listener]) -> Iterator[Finding]:
    where, owner = _where(host, number), asked(host, number)
    here, elsewhere = _split(strangers, host, number)
    if owner is None:
        yield bad("port", f"nobody answers on {where}", "mlxctl restart")
    elif owner != "mlxd" or here:
        who = _named(owner, here)
        yield bad("port", f"{where} is answered by {who}, not by the daemon", _look(number, here))
    else:
        yield good("port", f"{where} is the daemon's")
    for each in elsewhere:
        yield warning(
            "port",
            f'{each} has {each.address}: who asks for "localhost" may reach that, not mlxd',
            f"ps -p {each.pid}  # stop that one, or ask for {where}",
        )


def _kept(
    host: str, number: int, strangers: Sequence[Listener], service: ServiceStatus
) -> Iterator[Finding]:
    """Say who has the port without a connection to it, which would start the daemon."""
    where, manager = _where(host, number), service.manager
    here, _ = _split(strangers, host, number)
    if here:
        message = f"{where} is taken by {here[0]}, and not by {manager}"
        yield bad("port", message, _look(number, here))
    elif is_taken(host, number):
        yield good("port", f"{manager} waits on {where}")
    else:
        yield bad("port", f"nobody waits on {where}", "mlxctl install")


def _stopped(host: str, number: int, strangers: Sequence[Listener]) -> Iterator[Finding]:
    where, owner = _where(host, number), asked(host, number)
    if owner is None:
        yield good("port", f"{where} is free")
        return
    who = _named(owner, strangers)
    message = f"{where} is taken by {who}, so mlxd cannot start"
    yield bad("port", message, _look(number, strangers))


def asked(host: str, number: int) -> str | None:
    """Give who answers there: "mlxd", "another program", or nobody: None."""
    try:
        with socket.create_connection((host, number), timeout=_SECONDS) as connection:
            connection.sendall(_REQUEST)
            head = b""
            while b"\r\n\r\n" not in head and len(head) < _HEAD_BYTES:
                data = connection.recv(_HEAD_BYTES)
                if not data:
                    break
                head += data
    except ConnectionRefusedError:
        return None
    except OSError:
        return _OTHER
    return "mlxd" if b"x-mlxd-version:" in head.lower() else _OTHER


def is_taken(host: str, number: int) -> bool:
    """Whether somebody has that port, whom no connection disturbs."""
    family, *_, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Or else connections of the past would count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False


def _is_ours(listener: Listener, situation: Facts) -> bool:
    return listener.pid == situation.pid or listener.program in _MANAGERS


def _split(
    found: Sequence[Listener], host: str, number: int
) -> tuple[list[Listener], list[Listener]]:
    """Give those who listen where the daemon does, or is to, and those who do elsewhere."""
    infos = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)
    hosts = {str(address[0]) for *_, address in infos}
    ours = {f"*:{number}" if each in _EVERYWHERE else _where(each, number) for each in hosts}
    here = [each for each in found if each.address in ours]
    return here, [each for each in found if each not in here]


def _named(owner: str, found: Sequence[Listener]) -> str:
    """Say who it is, by name where the system tells."""
    if not found:
        return owner
    return f"another mlxd (pid {found[0].pid})" if owner == "mlxd" else str(found[0])


def _look(number: int, found: Sequence[Listener]) -> str:
    look = f"ps -p {found[0].pid}" if found else f"sudo lsof -nP -iTCP:{number} -sTCP:LISTEN"
    return f"{look}  # stop that one, or set server.port"


def _again(situation: Facts) -> str:
    """Give what makes the daemon take the port of the configuration: who has it decides."""
    by_manager = situation.service is not None and situation.service.keeps_sockets
    # A restart would keep the port that the daemon got as a flag.
    return "mlxctl install" if by_manager else "mlxctl stop && mlxctl start"


def _where(host: str, number: int) -> str:
    return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
