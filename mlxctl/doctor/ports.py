"""The TCP port: the daemon's, free, or another program's; and proxies that clients use."""

import shutil
import socket
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

import msgspec

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, error, ok, warning
from mlxctl.errors import CommandFailed
from mlxctl.programs import run
from mlxd.units import address

_SECONDS = 2.0
_LSOF = "/usr/sbin/lsof"  # on a Mac, where a bare PATH does not lead
_LSOF_SECONDS = 3.0
_MANAGERS = {"launchd", "systemd"}
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104  nothing is bound
_OTHER = "another program"
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_LOCAL = {"localhost", "127.0.0.1"}


class Listener(msgspec.Struct, frozen=True):
    """A program that listens; `address` is like "127.0.0.1:8080", "[::1]:8080" or "*:8080"."""

    pid: int
    program: str
    address: str

    def __str__(self) -> str:
        return f"{self.program} (pid {self.pid})"


def port(facts: Facts) -> Iterator[Finding]:
    """Whether the daemon has its port, or could have it."""
    if facts.config is None:
        return
    host, number = facts.config.server.host, facts.config.server.port
    status = facts.status
    if status is not None and status.url:
        url = urlsplit(status.url)
        if number not in (0, url.port):
            # A restart would keep the port that the daemon got as a flag.
            fix = "mlxctl install" if facts.sockets_kept else "mlxctl stop && mlxctl start"
            message = f"the daemon listens on {url.netloc}, the configuration says port {number}"
            yield warning("port", message, fix)
        host, number = url.hostname or host, url.port or number
    elif number == 0:
        return
    known = listeners(number)
    others = [each for each in known if each.pid != facts.pid and each.program not in _MANAGERS]
    if status is not None:
        yield from _running(host, number, others)
    elif any(each.pid == facts.pid for each in known):
        return  # the daemon does not answer, which another check tells
    elif facts.sockets_kept:
        yield _kept(host, number, others, facts.service.manager if facts.service else "")
    else:
        yield _stopped(host, number, others)


def proxy(facts: Facts) -> Iterator[Finding]:
    """Whether clients would use a proxy for this very machine."""
    environ = facts.environ
    found = next((name for name in _PROXIES if environ.get(name)), None)
    if found is None and facts.machine.proxy:
        found = "a proxy in the network settings"
    if found is None:
        return
    # Python's clients prefer the lower case, and ignore the exceptions in a Mac's settings.
    excepted = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    names = {entry.strip() for entry in excepted.split(",")}
    if "*" in names or names >= _LOCAL:
        yield ok("proxy", f"{found} is set, except for this machine")
    else:
        yield warning(
            "proxy",
            f"{found} is set: OpenAI's SDKs use it for 127.0.0.1 too",
            "export NO_PROXY=localhost,127.0.0.1 no_proxy=localhost,127.0.0.1",
        )


def listeners(port: int) -> list[Listener]:
    """Return the programs that listen on `port`, as far as the system tells this user.

    Root's programs, launchd among them, are hidden from others.
    """
    command = [
        shutil.which("lsof") or _LSOF,
        "-nP",
        "+c0",
        f"-iTCP:{port}",
        "-sTCP:LISTEN",
        "-Fpcn",
    ]
    try:
        return list(parse_lsof(run(command, seconds=_LSOF_SECONDS).output))
    except CommandFailed:
        return []


def parse_lsof(output: str) -> Iterator[Listener]:
    """Read what `lsof -Fpcn` prints: a field a line, named by its first letter."""
    pid, program = 0, ""
    for line in output.splitlines():
        field, value = line[:1], line[1:]
        if field == "p":
            pid = int(value)
        elif field == "c":
            program = value
        elif field == "n":
            yield Listener(pid, program, value)


def answering(host: str, number: int) -> str | None:
    """Return what answers there: "mlxd", "another program" or, if nothing does, None."""
    connection = HTTPConnection(host, number, timeout=_SECONDS)
    try:
        connection.request("GET", "/health", headers={"Host": "localhost"})
        version = connection.getresponse().getheader("X-Mlxd-Version")
    except ConnectionRefusedError:
        return None
    except (OSError, HTTPException):
        return _OTHER
    finally:
        connection.close()
    return "mlxd" if version else _OTHER


def _running(host: str, number: int, others: Sequence[Listener]) -> Iterator[Finding]:
    where, found = address(host, number), answering(host, number)
    here = _at(host, number, others)
    if found is None:
        yield error("port", f"nothing answers on {where}", "mlxctl restart")
    elif found != "mlxd" or here:
        message = f"{where} is answered by {_named(found, here)}, not by the daemon"
        yield error("port", message, _look(number, here))
    else:
        yield ok("port", f"the daemon has {where}")
    for each in others:
        if each not in here:
            message = f'{each} has {each.address}: clients of "localhost" may reach that, not mlxd'
            yield warning("port", message, f"ps -p {each.pid}  # stop it, or use {where}")


def _kept(host: str, number: int, others: Sequence[Listener], manager: str) -> Finding:
    """Tell who has the port without a connection to it, which would start the daemon."""
    where = address(host, number)
    if here := _at(host, number, others):
        return error("port", f"{where} is used by {here[0]}, not by {manager}", _look(number, here))
    return ok("port", f"{manager} listens on {where}")


def _stopped(host: str, number: int, others: Sequence[Listener]) -> Finding:
    where, found = address(host, number), answering(host, number)
    if found is None:
        return ok("port", f"{where} is free")
    message = f"{where} is used by {_named(found, others)}, so mlxd cannot start"
    return error("port", message, _look(number, others))


def _at(host: str, number: int, found: Sequence[Listener]) -> list[Listener]:
    """Return those who listen on the daemon's own addresses."""
    infos = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)
    hosts = {str(where[0]) for *_, where in infos}
    ours = {f"*:{number}" if each in _EVERYWHERE else address(each, number) for each in hosts}
    return [each for each in found if each.address in ours]


def _named(answers: str, found: Sequence[Listener]) -> str:
    """Name the program that answers, if the system tells it."""
    if not found:
        return answers
    return f"another mlxd (pid {found[0].pid})" if answers == "mlxd" else str(found[0])


def _look(number: int, found: Sequence[Listener]) -> str:
    look = f"ps -p {found[0].pid}" if found else f"sudo lsof -nP -iTCP:{number} -sTCP:LISTEN"
    return f"{look}  # stop it, or set server.port"
