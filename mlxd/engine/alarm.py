"""An alarm that ends an engine whose Python hangs: SIGALRM, which needs no thread of the process.

A call into C that never returns and keeps Python's global lock stops every thread, even the one
that ends the engine with its daemon. On Linux the kernel does that too; on a Mac the engine would
run on for ever, with the model's memory. So on a Mac, while the engine works, a thread resets the
alarm again and again; when it no longer can, the alarm goes off. MLX releases the lock while it
computes, and the alarm stands still while the machine sleeps, so neither a long step nor sleep sets
it off.
"""

import signal
import sys
import threading

_BESIDE_WATCHDOG = 60.0
_LONGEST_LOAD = 120.0
_RESETS = 8  # in the time after which it goes off


def alarm_seconds(hang_timeout: float) -> float:
    """Return after how many seconds without Python an engine ends; 0 means no alarm.

    The daemon's watchdog acts earlier, after `hang_timeout`, if the daemon is still there.
    """
    longest = max(hang_timeout, _LONGEST_LOAD) + _BESIDE_WATCHDOG if hang_timeout else 0.0
    return longest if sys.platform == "darwin" else 0.0


class Alarm:
    """Ends this process if it works and no thread runs Python for `seconds`; 0 means never."""

    def __init__(self, seconds: float) -> None:
        """Take the time; the engine rests at first."""
        self._seconds = seconds
        self._lock = threading.Lock()
        self._works = threading.Event()
        if seconds:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            threading.Thread(target=self._keep_resetting, name="alarm", daemon=True).start()

    def work(self) -> None:
        """Set the alarm."""
        if self._seconds and not self._works.is_set():
            # Not left to the thread, which may not run before the call that never returns.
            signal.setitimer(signal.ITIMER_REAL, self._seconds)
            self._works.set()

    def rest(self) -> None:
        """Turn the alarm off, so that the process can wait without waking up."""
        if self._works.is_set():
            with self._lock:
                self._works.clear()
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _keep_resetting(self) -> None:
        pause = threading.Event()
        while self._works.wait():
            with self._lock:
                if self._works.is_set():
                    signal.setitimer(signal.ITIMER_REAL, self._seconds)
            pause.wait(self._seconds / _RESETS)
