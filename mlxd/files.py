"""Safe files: written in one step, and read only if they are regular files."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(file: Path) -> BinaryIO:
    """Open a file for reading, unless it is a pipe or device, which could block for ever.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(file))
    return open(descriptor, "rb")


def out_of_files(error: OSError) -> bool:
    """Return whether a file could not be opened because too many others are open."""
    return error.errno in (errno.EMFILE, errno.ENFILE)


def write_atomically(file: Path, content: bytes, mode: int = 0o600) -> None:
    """Write `content` to `file` in one step; its folder must exist.

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
