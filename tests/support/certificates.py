"""Certificates for localhost, made by openssl."""

import shutil
import subprocess
from pathlib import Path

import pytest

OPENSSL = shutil.which("openssl") or ""
needs_openssl = pytest.mark.skipif(not OPENSSL, reason="needs openssl to make a certificate")


def make_certificate(folder: Path, issuer: str = "localhost") -> None:
    """Write cert.pem and key.pem for localhost into a folder, each in one step."""
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", f"/CN={issuer}", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "key.new"), "-out", str(folder / "cert.new")]
    subprocess.run([OPENSSL, *words.split(), *names, *files], check=True, capture_output=True)
    for file in ("key", "cert"):
        (folder / f"{file}.new").replace(folder / f"{file}.pem")
