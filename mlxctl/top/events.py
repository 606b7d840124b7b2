"""The keys that are pressed and the signals that come while `mlxctl top` has the terminal."""

import os
import select
import signal
import socket
import sys
import termios
import tty
from contextlib import ExitStack
from typing import Self

_SIGNALS = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGTERM)

Event = str | signal.Signals


class Events:
    """Takes each key at once, without showing it, until the block ends.

    The signals for a new size, for Ctrl-Z and to terminate are events, too. Ctrl-C is still a
    KeyboardInterrupt. Without a keyboard, only signals come.
    """

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._signals, written = socket.socketpair()
            for end in (self._signals, written):
                stack.enter_context(end)
                end.setblocking(False)
            stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(written.fileno()))
            for number in _SIGNALS:
                # A signal that has a handler is also written to the socket.
                before = signal.signal(number, lambda _number, _frame: None)
                stack.callback(signal.signal, number, before)
            self._keyboard = sys.stdin.fileno() if sys.stdin.isatty() else None
            if self._keyboard is not None:
                before_keys = termios.tcgetattr(self._keyboard)
                stack.callback(termios.tcsetattr, self._keyboard, termios.TCSADRAIN, before_keys)
                tty.setcbreak(self._keyboard)
            self._undo = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._undo.close()

    def wait(self, seconds: float) -> list[Event]:
        """Return the next events, none after `seconds`; the end of the input is the key "q"."""
        sources = [self._signals.fileno()]
        if self._keyboard is not None:
            sources.append(self._keyboard)
        ready, _, _ = select.select(sources, [], [], max(seconds, 0.0))
        events: list[Event] = []
        if self._signals.fileno() in ready:
            known = {int(number) for number in _SIGNALS}
            events += [signal.Signals(n) for n in self._signals.recv(4096) if n in known]
        if self._keyboard in ready:
            events += os.read(self._keyboard, 4096).decode(errors="replace") or "q"
        return events
