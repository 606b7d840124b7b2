"""One file of the hub: resumed at the byte where it stopped, and checked against its hash.

huggingface_hub's own download starts each file anew in a new process and writes it ten megabytes at
a time, so that a break loses up to that much (2.4.0, `_download_to_tmp_and_move`). Its session, its
headers and its errors are used.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import httpx2
from huggingface_hub import get_session
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from mlxd.hub.retry import Interrupted
from mlxd.hub.staging import RepoFile

_BLOCK = 1 << 20
_SHA256_LENGTH = 64


def fetch(
    url: str, file: RepoFile, part: Path, silence: float, came: Callable[[int], None]
) -> None:
    """Append to `part` what it lacks of `file`; each byte that came is on disk, whatever happens.

    The hub may be silent for `silence` seconds. `came` is called with the number of bytes that
    came, a negative one if `part` has to start anew.

    Raises:
        Interrupted: the connection ended before the file did.
        HfHubHTTPError, TransportError: as huggingface_hub raises them.
        OSError: `part` cannot be written.
    """
    # Unbuffered: a process that is killed has written what it counted.
    with part.open("ab", buffering=0) as out:
        have = out.tell()
        if have >= file.size:
            return
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        timeout = httpx2.Timeout(silence)
        with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
            hf_raise_for_status(response)
            if have and response.status_code != httpx2.codes.PARTIAL_CONTENT:
                out.truncate(0)
                came(-have)
                have = 0
            for block in response.iter_raw():
                wanted = block[: file.size - have]
                _write(out.fileno(), wanted)
                have += len(wanted)
                came(len(wanted))
        if have < file.size:
            raise Interrupted("the connection to the hub broke")


def is_intact(path: Path, file: RepoFile) -> bool:
    """Return whether `path` has the size and hash of `file`: its sha256, or that of a git blob."""
    digest = hashlib.sha256() if len(file.hash) == _SHA256_LENGTH else _git_digest(file.size)
    with path.open("rb", buffering=0) as stream:
        if os.fstat(stream.fileno()).st_size != file.size:
            return False
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest() == file.hash


def _git_digest(size: int) -> "hashlib._Hash":
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
