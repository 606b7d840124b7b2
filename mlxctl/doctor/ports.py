"""The TCP port: the daemon's, free, or another program's; and proxies that clients use."""

import shutil
import socket
from collections.abc import Iterator
from urllib import request
from urllib.parse import urlsplit

import msgspec

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, error, ok, warning
from mlxctl.errors import CommandFailed
from mlxctl.programs import run
from mlxd.addresses import primary
from mlxd.units import address

_LSOF = "/usr/sbin/lsof"  # on a Mac, where a bare PATH does not lead
_LSOF_SECONDS = 3.0
_MANAGERS = {"launchd", "systemd"}
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104  nothing is bound


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
    host, number = primary(facts.config.server.host), facts.config.server.port
    if facts.status is not None and facts.status.url:
        url = urlsplit(facts.status.url)
        if number not in (0, url.port):
            # A restart would keep the port that the daemon got as a flag.
            fix = "mlxctl install" if facts.sockets_kept else "mlxctl stop && mlxctl start"
            message = f"the daemon listens on {url.netloc}, the configuration says port {number}"
            yield warning("port", message, fix)
        yield from _taken(facts, url.hostname or host, url.port or number)
    elif number and facts.pid is None:  # that a daemon does not answer is for another check
        yield from _taken(facts, host, number)


def proxy(facts: Facts) -> Iterator[Finding]:  # noqa: ARG001
    """Whether clients would use a proxy for this very machine."""
    proxies = request.getproxies()  # the network settings of a Mac included, as for OpenAI's SDKs
    if not (proxies.get("http") or proxies.get("all")):
        return
    if not all(map(request.proxy_bypass, ("localhost", "127.0.0.1"))):
        yield warning(
            "proxy",
            "a proxy is set, and OpenAI's SDKs use it for 127.0.0.1 too",
            "export NO_PROXY=localhost,127.0.0.1 no_proxy=localhost,127.0.0.1",
        )


def listeners(port: int) -> list[Listener]:
    """Return the programs that listen on `port`, as far as the system tells this user.

    Root's programs, launchd among them, are hidden from others.
    """
    lsof = shutil.which("lsof") or _LSOF
    command = [lsof, "-nP", "+c0", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpcn"]
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


def _taken(facts: Facts, host: str, number: int) -> Iterator[Finding]:
    """Say who has the port; without a connection to it, which could start a daemon."""
    where, owner = address(host, number), None
    if facts.status is not None:
        owner = "the daemon"
    elif facts.service is not None and facts.service.keeps_sockets:
        owner = facts.service.manager
    known = listeners(number)
    others = [each for each in known if each.pid != facts.pid and each.program not in _MANAGERS]
    here = [each for each in others if each.address in _names(host, number)]
    if here:
        effect = f"not by {owner}" if owner else "so mlxd cannot start"
        fix = f"ps -p {here[0].pid}  # stop it, or set server.port"
        yield error("port", f"{where} is used by {here[0]}, {effect}", fix)
    elif owner:
        yield ok("port", f"{owner} listens on {where}")
    elif fault := _fault_of(host, number):
        fix = f"sudo lsof -nP -iTCP:{number} -sTCP:LISTEN  # stop it, or set server.port"
        yield error("port", f"mlxd cannot listen on {where}: {fault}", fix)
    else:
        yield ok("port", f"{where} is free")
    elsewhere = [each for each in others if each not in here]
    if facts.status and elsewhere:
        who, holds = (
            str(elsewhere[0]),
            " and ".join(dict.fromkeys(each.address for each in elsewhere)),
        )
        if more := len({each.pid for each in elsewhere}) - 1:
            who = f"{who}, and {more} more,"
        message = f'{who} has {holds}: clients of "localhost" may reach that, not mlxd'
        yield warning("port", message, f"ps -p {elsewhere[0].pid}  # stop it, or use {where}")


def _names(host: str, number: int) -> set[str]:
    """Return the addresses of `host` as lsof writes them."""
    infos = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)
    hosts = {str(where[0]) for *_, where in infos}
    return {f"*:{number}" if each in _EVERYWHERE else address(each, number) for each in hosts}


def _fault_of(host: str, number: int) -> str:
    """Return why mlxd cannot listen there; empty if it can."""
    try:
        for family, *_, where in socket.getaddrinfo(host, number, type=socket.SOCK_STREAM):
            with socket.socket(family) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(where)
    except OSError as failure:
        return failure.strerror or str(failure)
    return ""
