"""HTTPS with files that change while the daemon runs."""

import asyncio
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mlxd.errors import ConfigError
from mlxd.http.app import public_app
from mlxd.http.server import HttpServer
from mlxd.http.tls import Certificate
from tests.support.certificates import OPENSSL, make_certificate, needs_openssl
from tests.support.http_fakes import FakePool, make_dependencies

pytestmark = needs_openssl


def certificate(folder: Path) -> Certificate:
    return Certificate(str(folder / "cert.pem"), str(folder / "key.pem"))


@pytest.fixture
async def port(pool: FakePool, tmp_path: Path) -> AsyncIterator[int]:
    make_certificate(tmp_path, "first")
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(public_app(make_dependencies(pool)))
    server.use_tls(certificate(tmp_path).context)
    serving = asyncio.create_task(server.serve([listener]))
    yield listener.getsockname()[1]
    server.stop(grace=0.1)
    await serving


async def health(port: int, **more: str) -> tuple[bytes, bytes]:
    """Return the status line of /health, and the certificate in DER."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, **more)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    line = await asyncio.wait_for(reader.readline(), 10)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return line.strip(), der


async def test_a_renewed_certificate_counts_at_the_next_connection(port, tmp_path, caplog):
    status, first = await health(port)
    assert status == b"HTTP/1.1 200 OK"
    assert b"first" in first
    make_certificate(tmp_path, "second")
    assert b"second" in (await health(port))[1]
    assert b"second" in (await health(port, server_hostname="localhost"))[1]
    (tmp_path / "cert.pem").write_text("torn")
    assert b"second" in (await health(port))[1]
    assert "the certificate before stays" in caplog.text
    (tmp_path / "cert.pem").unlink()
    assert b"second" in (await health(port))[1]
    make_certificate(tmp_path, "third")
    assert b"third" in (await health(port))[1]


async def test_a_certificate_that_cannot_be_read_at_first_is_tried_again(port, tmp_path, caplog):
    make_certificate(tmp_path, "second")
    key, held = tmp_path / "key.pem", tmp_path / "held.pem"
    key.replace(held)
    for _ in range(2):
        assert b"first" in (await health(port))[1]
    assert caplog.text.count("No such file or directory; the certificate before stays") == 1
    text, status = held.read_text(), held.stat()
    held.write_text(text.replace("E", "F"))
    os.utime(held, ns=(status.st_atime_ns, status.st_mtime_ns))
    held.replace(key)
    assert b"first" in (await health(port))[1]
    key.write_text(text)
    os.utime(key, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert b"second" in (await health(port))[1]


async def test_plain_http_is_not_answered_on_that_port(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"HTTP" not in await asyncio.wait_for(reader.read(), 10)
    writer.close()


def test_files_that_do_not_belong_together_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        certificate(tmp_path)
    make_certificate(tmp_path, "one")
    (tmp_path / "other").mkdir()
    make_certificate(tmp_path / "other", "two")
    (tmp_path / "other" / "key.pem").replace(tmp_path / "key.pem")
    with pytest.raises(ConfigError, match=r"cert\.pem and .*key\.pem cannot be used"):
        certificate(tmp_path)


def test_a_key_with_a_password_asks_nobody(tmp_path: Path) -> None:
    make_certificate(tmp_path, "one")
    words = ["ec", "-aes256", "-passout", "pass:secret", "-in", "key.pem", "-out", "locked.pem"]
    subprocess.run([OPENSSL, *words], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "locked.pem").replace(tmp_path / "key.pem")
    with pytest.raises(ConfigError, match="without a password"):
        certificate(tmp_path)
