"""How long to wait for the hub, and how often to try again."""

import time
from dataclasses import dataclass

from mlxd.errors import HubUnreachable
from mlxd.hub.meter import Meter


@dataclass(frozen=True)
class RetryPolicy:
    """In seconds: how long the hub may be silent, and the first and longest pause between tries.

    `tries` is how often in a row a download that has begun may come to nothing, an hour or so;
    `first_tries` is the same for one that has not begun, and for which somebody may be waiting.
    """

    silence: float = 30.0
    first_pause: float = 1.0
    longest_pause: float = 60.0
    tries: int = 65
    first_tries: int = 6


class Interrupted(Exception):
    """The hub did not answer this time; it may have `asked_for` a pause of so many seconds."""

    def __init__(self, message: str, asked_for: float | None = None) -> None:
        super().__init__(message)
        self.asked_for = asked_for


class Retries:
    """The tries at one thing, of which so many in a row may come to nothing."""

    def __init__(self, patience: RetryPolicy, meter: Meter, allowed: int) -> None:
        self._patience = patience
        self._meter = meter
        self._allowed = allowed
        self._failures = 0

    def begin_anew(self) -> None:
        """It went well for a while: what failed before counts no more."""
        self._failures = 0

    def pause(self, interrupted: Interrupted) -> None:
        """Wait before the next try, longer each time.

        Raises:
            HubUnreachable: that was the last one.
        """
        self._failures += 1
        if self._failures >= self._allowed:
            raise HubUnreachable(f"{interrupted}, also after {self._failures} tries")
        doubled = self._patience.first_pause * 2.0 ** (self._failures - 1)
        pause = min(doubled, self._patience.longest_pause)
        if interrupted.asked_for is not None:
            pause = max(pause, min(interrupted.asked_for, 10 * self._patience.longest_pause))
        self._meter.enter("retrying", note=f"{interrupted}; the next try is in {pause:.0f} s")
        time.sleep(pause)
