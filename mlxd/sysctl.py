"""What macOS knows of itself by name; see sysctlbyname(3). Only a Mac can run this."""

import ctypes


def number(name: str) -> int:
    """Return a number, 0 where the system does not know the name."""
    value = ctypes.c_uint64(0)
    size = ctypes.c_size_t(ctypes.sizeof(value))
    call = ctypes.CDLL(None).sysctlbyname
    failed = call(name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
    return 0 if failed else value.value


def text(name: str) -> str:
    """Return a text, "" where the system does not know the name."""
    buffer = ctypes.create_string_buffer(1024)
    size = ctypes.c_size_t(len(buffer))
    call = ctypes.CDLL(None).sysctlbyname
    failed = call(name.encode(), buffer, ctypes.byref(size), None, ctypes.c_size_t(0))
    return "" if failed else buffer.value.decode(errors="replace")
