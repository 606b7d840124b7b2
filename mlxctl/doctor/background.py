"""What is done beside the rest and may fail, or never end: a program that hangs, a dead disk."""

import subprocess
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from mlxctl.errors import CommandFailed
from mlxd.errors import MlxdError

FAILURES = (MlxdError, OSError, ValueError, subprocess.SubprocessError)
"""What may go wrong on a machine where something is wrong."""

_Found = TypeVar("_Found")


class BackgroundCall(Generic[_Found]):
    """Runs `call` in a thread of its own, which is left behind where it does not end."""

    def __init__(self, call: Callable[[], _Found]) -> None:
        self._call = call
        self._found: list[_Found] = []
        self._error: Exception | None = None
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self, seconds: float) -> _Found:
        """Give what comes of it, for which it has `seconds` since its beginning.

        Raises:
            CommandFailed: it has not ended by then, or by an error that nobody expects.
            Exception: one of FAILURES, as `call` raised it.
        """
        self._thread.join(max(0.0, self._began + seconds - time.monotonic()))
        if self._error is not None:
            raise self._error
        if not self._found:
            how = f"does not end within {seconds:g} s" if self._thread.is_alive() else "has failed"
            raise CommandFailed(how)
        return self._found[0]

    def _run(self) -> None:
        try:
            self._found.append(self._call())
        except FAILURES as error:
            self._error = error


def explained(error: Exception) -> str:
    """Give one of FAILURES as a line."""
    if isinstance(error, MlxdError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__
