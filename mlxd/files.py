"""Writing a file in one step, so that a reader finds the old content or the new one."""

import os
from pathlib import Path


def write_atomically(file: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace `file`, which need not exist, by one with `content`; its folder must exist.

    Raises:
        OSError: nothing was changed.
    """
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode)  # whatever the umask is
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        fresh.replace(file)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
