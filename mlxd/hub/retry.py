"""Trying again: how long to wait for the hub, and how often."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mlxd.errors import HubUnreachable
from mlxd.hub.meter import Meter

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class RetryPolicy:
    """In seconds: how long the hub may be silent, the first and the longest pause between tries.

    `tries` is how many tries in a row may bring nothing once a download has begun, which takes
    about an hour; `first_tries` is the same before, when a user may be waiting.
    """

    silence: float = 30.0
    first_pause: float = 1.0
    longest_pause: float = 60.0
    tries: int = 65
    first_tries: int = 6


class Interrupted(Exception):
    """The hub did not answer this time; it may have asked to wait `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Retries:
    """The tries at one thing, of which `allowed` in a row may fail."""

    def __init__(self, policy: RetryPolicy, meter: Meter, allowed: int) -> None:
        self._policy = policy
        self._meter = meter
        self._allowed = allowed
        self._failures = 0

    def run(self, action: Callable[[], _Result]) -> _Result:
        """Call `action` until it is not interrupted, with a longer pause each time.

        Raises:
            HubUnreachable: the last try was interrupted too.
        """
        while True:
            try:
                return action()
            except Interrupted as interrupted:
                self._pause(interrupted)

    def reset(self) -> None:
        """Forget the failures so far, because bytes have come."""
        self._failures = 0

    def _pause(self, interrupted: Interrupted) -> None:
        self._failures += 1
        if self._failures >= self._allowed:
            raise HubUnreachable(f"{interrupted} (tried {self._failures} times)")
        longest = self._policy.longest_pause
        pause = min(self._policy.first_pause * 2.0 ** (self._failures - 1), longest)
        pause = max(pause, min(interrupted.retry_after, 10 * longest))
        self._meter.enter("retrying", note=f"{interrupted}; next try in {pause:.0f} s")
        time.sleep(pause)
