"""Calls that run in parallel and may fail or never end: a program that hangs, a dead disk."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from mlxctl.doctor.finding import FAILURES
from mlxctl.errors import CommandFailed

_Result = TypeVar("_Result")


class BackgroundCall(Generic[_Result]):
    """Runs `call` in a thread of its own, which is abandoned if it takes over `seconds`."""

    def __init__(self, call: Callable[[], _Result], seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._outcome: Future[_Result] = Future()
        threading.Thread(target=self._run, args=(call,), daemon=True).start()

    def result(self) -> _Result:
        """Wait for the result.

        Raises:
            CommandFailed: the time is over.
            Exception: one of FAILURES, as `call` raised it.
        """
        try:
            return self._outcome.result(max(0.0, self._end - time.monotonic()))
        except TimeoutError as error:
            raise CommandFailed(f"no result within {self._seconds:g} s") from error

    def _run(self, call: Callable[[], _Result]) -> None:
        try:
            self._outcome.set_result(call())
        except FAILURES as error:
            self._outcome.set_exception(error)
