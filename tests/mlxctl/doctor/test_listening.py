import os
import shutil
import socket

import pytest

from mlxctl.doctor.listening import Listener, listeners, parse

# `lsof -nP +c0 -iTCP:8080 -sTCP:LISTEN -Fpcn` on a Mac.
PRINTED = (
    "p501\ncnode\nf21\nn[::1]:8080\np812\nccom.docker.backend\nf77\nn*:8080\nn127.0.0.1:8080\n"
)


def test_what_lsof_prints() -> None:
    assert list(parse(PRINTED)) == [
        Listener(501, "node", "[::1]:8080"),
        Listener(812, "com.docker.backend", "*:8080"),
        Listener(812, "com.docker.backend", "127.0.0.1:8080"),
    ]
    assert str(next(parse(PRINTED))) == "node (pid 501)"
    assert list(parse("")) == []


@pytest.mark.skipif(not shutil.which("lsof"), reason="needs lsof")
def test_who_listens_is_asked_for_real() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (found,) = listeners(port)
    assert (found.pid, found.address) == (os.getpid(), f"127.0.0.1:{port}")
    assert listeners(port) == []


def test_without_lsof_nobody_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxctl.doctor.listening.shutil.which", lambda name: "/nowhere/lsof")
    assert listeners(1) == []
