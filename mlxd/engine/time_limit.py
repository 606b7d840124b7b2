"""A limit on how long Python code that somebody else wrote may run in this thread."""

import contextlib
import ctypes
import threading
from collections.abc import Iterator


class TimeLimitReached(Exception):
    """The code ran out of its time."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimitReached in the block once it has run for `seconds`.

    It reaches Python code between two of its instructions, so a loop is ended and a single call
    into C is not.
    """
    thread = threading.get_ident()
    lock = threading.Lock()
    over = False

    def interrupt() -> None:
        with lock:
            if not over:
                _raise_in(thread, TimeLimitReached)

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            over = True
        timer.cancel()


def _raise_in(thread: int, error: type[Exception]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
