"""Confine an engine: no network, and no writing of files other than its own caches.

An engine computes and reads a model's folder. If somebody hides an attack in a model's files, or
exploits a library that reads them, it then reaches neither the network nor the user's files.

On Linux this is Landlock (https://docs.kernel.org/userspace-api/landlock.html), which covers TCP
from kernel 6.7 on. On a Mac it is a sandbox profile, which no test has tried yet. Metal needs Mach
messages and IOKit, which the profile allows, and the user's caches, to which an engine may write.
"""

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

_CACHE_OF_USER, _TEMPORARY_OF_USER = 65538, 65537  # _CS_DARWIN_USER_CACHE_DIR, …_TEMP_DIR
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_NO_NEW_PRIVILEGES = 38
"""PR_SET_NO_NEW_PRIVS of prctl(2), without which Landlock needs root."""
_FILE_WRITES = sum(1 << bit for bit in (1, *range(4, 13)))
"""LANDLOCK_ACCESS_FS_WRITE_FILE, REMOVE_… and MAKE_…"""
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_TCP = 3
"""LANDLOCK_ACCESS_NET_BIND_TCP and CONNECT_TCP."""


def confine(folders: Iterable[Path]) -> str | None:
    """Forbid this process the network, and writing files outside `folders`, for good.

    Temporary files and devices may still be written. The process must have one thread; children
    inherit the limits. Return why that is impossible, None if it is done.
    """
    writable = [*folders, Path(tempfile.gettempdir())]
    if sys.platform == "darwin":
        return _by_profile(writable)
    return _by_landlock([*writable, Path("/dev")])


def profile(folders: Iterable[Path]) -> str:
    """Return the sandbox profile for a Mac that allows writing in `folders`."""
    places = "".join(f"\n  (subpath {_quoted(str(folder))})" for folder in folders)
    return f"""(version 1)
(allow default)
(deny network*)
(deny file-write*)
(allow file-write*{places}
  (literal "/dev/null")
  (literal "/dev/dtracehelper")
  (regex #"^/dev/tty"))
"""


def _by_profile(folders: list[Path]) -> str | None:
    for name in (_CACHE_OF_USER, _TEMPORARY_OF_USER):  # where Metal keeps compiled shaders
        with contextlib.suppress(ValueError, OSError):
            if found := os.confstr(name):
                folders.append(Path(found))
    text = profile(_real(folders)).encode()
    library = ctypes.CDLL(None)
    reason = ctypes.c_char_p()
    if library.sandbox_init(text, ctypes.c_uint64(0), ctypes.byref(reason)) == 0:
        return None
    return (reason.value or b"sandbox_init failed").decode(errors="replace")


def _by_landlock(folders: list[Path]) -> str | None:
    library = ctypes.CDLL(None, use_errno=True)
    version = library.syscall(_CREATE_RULESET, None, 0, _VERSION)
    if version < 1:
        return "this kernel has no Landlock"
    writes = _FILE_WRITES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    handled = (ctypes.c_uint64 * 2)(writes, _TCP if version >= 4 else 0)
    size = ctypes.sizeof(handled) if version >= 4 else 8
    ruleset = library.syscall(_CREATE_RULESET, handled, size, 0)
    if ruleset < 0:
        return f"Landlock: {os.strerror(ctypes.get_errno())}"
    try:
        for folder in _real(folders):
            _allow(library, ruleset, folder, writes)
        if library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or library.syscall(
            _RESTRICT_SELF, ruleset, 0
        ):
            return f"Landlock: {os.strerror(ctypes.get_errno())}"
    finally:
        os.close(ruleset)
    return None


def _allow(library: ctypes.CDLL, ruleset: int, folder: Path, writes: int) -> None:
    """Allow writing below `folder`, unless it cannot be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        beneath = writes.to_bytes(8, sys.byteorder) + descriptor.to_bytes(4, sys.byteorder)
        library.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, beneath, 0)
        os.close(descriptor)


def _real(folders: Iterable[Path]) -> list[Path]:
    """Return the paths of `folders` without symbolic links, each made if it is missing."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return list(dict.fromkeys(Path(os.path.realpath(folder)) for folder in folders))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
