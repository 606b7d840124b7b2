"""Standard error as a service manager gives it: a file that every start adds to, and nobody trims.

Only what is printed before the log is open, and what the interpreter says of its own end, goes
there.
"""

import fcntl
import os
import stat

_STANDARD_ERROR = 2
_LARGEST = 65536


def keep_small(descriptor: int = _STANDARD_ERROR) -> None:
    """Empty the file `descriptor`, which others append to as well, if it has grown large."""
    try:
        status = os.fstat(descriptor)
        appends = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND
    except OSError:
        return  # closed
    if stat.S_ISREG(status.st_mode) and appends and status.st_size > _LARGEST:
        os.ftruncate(descriptor, 0)
