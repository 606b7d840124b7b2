"""Who owns the TCP port: ours, nobody, or somebody else, as two installations of mlxd would."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

from mlxctl.doctor.finding import Finding, bad, good, warning
from mlxctl.doctor.situation import Situation

_SECONDS = 3.0
_HEAD_BYTES = 4096
_REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def port(situation: Situation) -> Iterator[Finding]:
    """Whether the daemon has its port, and none has it where the daemon does not run."""
    if situation.config is None:
        return
    host, number = situation.config.server.host, situation.config.server.port
    status = situation.status
    if status is not None and status.url:
        url = urlsplit(status.url)
        if number not in (0, url.port):
            message = f"the daemon listens on {url.netloc}, the configuration says port {number}"
            yield warning("port", message, "mlxctl restart")
        host, number = url.hostname or host, url.port or number
    elif number == 0:
        return
    where = f"{host}:{number}"
    if situation.asleep:  # and to ask would wake it
        yield good("port", f"{where} is kept by {situation.service.manager}")
        return
    owner = asked(host, number)
    find_it = f"lsof -nP -iTCP:{number} -sTCP:LISTEN"
    if owner and (status is None or owner != "mlxd") and (listener := listening(number)):
        owner = f"{owner} ({listener})"
    if status is None and owner:
        yield bad(
            "port",
            f"{where} is taken by {owner}, so mlxd cannot start",
            f"{find_it}  # stop that one, or set server.port",
        )
    elif status is None:
        yield good("port", f"{where} is free")
    elif owner == "mlxd":
        yield good("port", f"{where} is the daemon's")
    elif owner:
        yield bad("port", f"{where} is answered by {owner}, not by the daemon", find_it)
    else:
        yield bad("port", f"nobody answers on {where}", "mlxctl restart")


def listening(number: int) -> str | None:
    """Give name and pid of who listens on that port, where `lsof` is there and sees it."""
    if (program := shutil.which("lsof")) is None:
        return None
    command = [program, "-nP", f"-iTCP:{number}", "-sTCP:LISTEN", "-Fpc"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    fields = {line[:1]: line[1:] for line in reversed(done.stdout.splitlines())}
    return f"{fields['c']}, pid {fields['p']}" if {"c", "p"} <= set(fields) else None


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
        return "another program"
    return "mlxd" if b"x-mlxd-version:" in head.lower() else "another program"
