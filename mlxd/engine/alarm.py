"""The kernel's alarm, for an engine in a call that never returns and keeps Python's lock.

Such a call stops every thread, the one too that ends the engine with its daemon. Linux kills the
engine then; on a Mac it would run on for ever, with the model's memory. So on a Mac, while the
engine works, a thread keeps setting the alarm anew, and SIGALRM, which needs no thread, ends the
process if it cannot. MLX lets go of the lock while it computes: a long step is no reason. Nor is
sleep, in which a Mac's alarm stands still.
"""

import signal
import sys
import threading

_BESIDE_WATCHDOG = 60.0
_LONGEST_LOAD = 120.0
_TIMES = 8  # so often it is set anew before it goes off


def alarm_seconds(hang_timeout: float) -> float:
    """Return after how many seconds without Python an engine ends; 0 for an engine without alarm.

    The daemon's watchdog, if there is a daemon, comes first, as `engine.hang_timeout` says.
    """
    longest = max(hang_timeout, _LONGEST_LOAD) + _BESIDE_WATCHDOG if hang_timeout else 0.0
    return longest if sys.platform == "darwin" else 0.0


class Alarm:
    """Ends this process, while it works, if no thread runs Python for `seconds`; 0 is never."""

    def __init__(self, seconds: float) -> None:
        """Start with an engine that rests."""
        self._seconds = seconds
        self._lock = threading.Lock()
        self._works = threading.Event()
        if seconds:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            threading.Thread(target=self._keep_setting, name="alarm", daemon=True).start()

    def work(self) -> None:
        """Have the process end if Python stops."""
        if self._seconds and not self._works.is_set():
            # Here, not in the thread: it may get no turn before the call that never returns.
            signal.setitimer(signal.ITIMER_REAL, self._seconds)
            self._works.set()

    def rest(self) -> None:
        """Let the process wait for as long as it likes, without waking up."""
        if self._works.is_set():
            with self._lock:
                self._works.clear()
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _keep_setting(self) -> None:
        pause = threading.Event()
        while self._works.wait():
            with self._lock:
                if self._works.is_set():
                    signal.setitimer(signal.ITIMER_REAL, self._seconds)
            pause.wait(self._seconds / _TIMES)
