"""Takes from an engine what it never needs: the network, and files other than its own caches.

It computes, and reads a model's folder. What somebody may plant in a model's files, or finds in the
libraries that read them, thus reaches neither the network nor the user's files. On Linux that is
Landlock, whose network is TCP, from kernel 6.7 on. On a Mac it is a sandbox profile, which only a
Mac can try: no test here does. What an engine needs of Metal goes through Mach messages and IOKit,
which the profile leaves alone, and into the caches of the user, to which it may write.

https://docs.kernel.org/userspace-api/landlock.html
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
    """Confine this process, which must have one thread, and its children, to write in `folders`.

    Temporary files and devices may be written, too. Return why that is impossible, None if it is
    done; then it cannot be undone.
    """
    writable = [*folders, Path(tempfile.gettempdir())]
    if sys.platform == "darwin":
        return _by_profile(writable)
    return _by_landlock([*writable, Path("/dev")])


def profile(folders: Iterable[Path]) -> str:
    """Return the profile for a Mac, in its sandbox's language."""
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
    # Only a Mac can run these lines; no test here does.
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
    """Let files below `folder` be written; one that cannot be opened stays closed."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        beneath = writes.to_bytes(8, sys.byteorder) + descriptor.to_bytes(4, sys.byteorder)
        library.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, beneath, 0)
        os.close(descriptor)


def _real(folders: Iterable[Path]) -> list[Path]:
    """Return where `folders` really are, as both systems want them; they are made if missing."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return list(dict.fromkeys(Path(os.path.realpath(folder)) for folder in folders))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
