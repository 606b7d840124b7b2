"""What macOS knows of itself by name; see sysctlbyname(3). Only a Mac can run this."""

import ctypes


def number(name: str) -> int:
    """Return a number, 0 where the system does not know the name."""
    value = ctypes.c_uint64(0)
    return value.value if _read(name, value) else 0


def text(name: str) -> str:
    """Return a text, "" where the system does not know the name."""
    buffer = ctypes.create_string_buffer(1024)
    return buffer.value.decode(errors="replace") if _read(name, buffer) else ""


def _read(name: str, into: "ctypes.c_uint64 | ctypes.Array[ctypes.c_char]") -> bool:
    size = ctypes.c_size_t(ctypes.sizeof(into))
    call = ctypes.CDLL(None).sysctlbyname
    return not call(name.encode(), ctypes.byref(into), ctypes.byref(size), None, ctypes.c_size_t(0))
