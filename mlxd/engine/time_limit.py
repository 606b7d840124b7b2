"""A limit for the time that code which cannot be trusted to end may take."""

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def within(seconds: float, work: Callable[[], Result], *, stack_bytes: int = 0) -> Result:
    """Return what `work` returns, or raise what it raises.

    It runs in a thread of its own, with a stack of `stack_bytes`; 0 is the usual size. After
    `seconds` that thread is interrupted between two Python instructions: a loop ends, a single call
    into C goes on, and its result is dropped.

    Raises:
        TimeoutError: it takes longer than `seconds`.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  the caller raises it again
            future.set_exception(error)

    thread = threading.Thread(target=run, name="time-limit", daemon=True)
    usual = threading.stack_size(stack_bytes)
    try:
        thread.start()
    finally:
        threading.stack_size(usual)
    try:
        return future.result(seconds)
    except TimeoutError:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
        )
        raise
