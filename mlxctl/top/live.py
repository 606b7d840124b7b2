"""The live view: it asks the daemon once a second, and draws then and after each key or resize."""

import gc
import os
import signal
import time

from rich.console import Console, ConsoleDimensions, Group
from rich.control import Control
from rich.screen import Screen
from rich.text import Text

from mlxctl.top.drawing import draw, draw_fault
from mlxctl.top.events import Events
from mlxctl.top.overview import Asker, Overview
from mlxd.errors import MlxdError

_INTERVAL_SECONDS = 1.0


class LiveView:
    """Shows what the daemon does on a terminal, and restores the terminal afterwards."""

    def __init__(self, console: Console, asker: Asker) -> None:
        self._console = console
        self._asker = asker
        self._hour = False
        self._seen: Overview | str = ""

    def run(self) -> None:
        """Show it until "q" is pressed; Ctrl-Z and `fg` suspend and resume it.

        Raises:
            SystemExit: the process is to terminate.
            KeyboardInterrupt: Ctrl-C.
        """
        gc.enable()  # mlxctl turns it off, as its other commands end soon
        while True:
            with Events() as events, self._console.screen():
                event = self._watch(events)
            if event is signal.SIGTERM:
                raise SystemExit(128 + signal.SIGTERM)
            if event != signal.SIGTSTP:
                return
            os.kill(os.getpid(), signal.SIGSTOP)

    def _watch(self, events: Events) -> str | signal.Signals:
        """Show it until an event ends or suspends it; return that event."""
        due = time.monotonic()
        while True:
            if time.monotonic() >= due:
                due = time.monotonic() + _INTERVAL_SECONDS
                self._look()
            self._draw()
            for event in events.wait(due - time.monotonic()):
                if event in ("q", signal.SIGTERM, signal.SIGTSTP):
                    return event
                if event == "h":
                    self._hour = not self._hour
                    due = 0.0
                elif event is signal.SIGWINCH:
                    self._console.control(Control.clear())

    def _look(self) -> None:
        try:
            self._seen = self._asker.ask(hour=self._hour)
        except MlxdError as error:
            self._seen = error.message

    def _draw(self) -> None:
        # Not the console's own size: if COLUMNS and LINES are set, that never changes.
        width, height = os.get_terminal_size(self._console.file.fileno())
        self._console.size = ConsoleDimensions(width, height)
        if isinstance(self._seen, Overview):
            lines = draw(self._seen, width, height, hour=self._hour)
        else:
            lines = draw_fault(self._seen, width, height)
        screen = Screen(Text("\n").join(lines))
        self._console.print(Group(Control.home(), screen), end="")
