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
    """The first and the longest pause between tries, in seconds.

    `tries` is how many tries in a row may bring nothing once a download has begun, which takes
    about an hour; `first_tries` is the same before, when a user may be waiting.
    """

    first_pause: float = 1.0
    longest_pause: float = 60.0
    tries: int = 65
    first_tries: int = 6


class Interrupted(Exception):
    """The hub did not answer this time; it may have asked to wait `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def retry(action: Callable[[], _Result], policy: RetryPolicy, tries: int, meter: Meter) -> _Result:
    """Call `action` until it is not interrupted, with a longer pause each time.

    Raises:
        HubUnreachable: `tries` calls in a row were interrupted, and no byte came.
    """
    failures = 0
    while True:
        fetched = meter.fetched
        try:
            return action()
        except Interrupted as interrupted:
            failures = failures + 1 if meter.fetched == fetched else 1
            if failures >= tries:
                raise HubUnreachable(f"{interrupted} (tried {failures} times)") from interrupted
            pause = min(policy.first_pause * 2.0 ** (failures - 1), policy.longest_pause)
            pause = max(pause, min(interrupted.retry_after, 10 * policy.longest_pause))
            meter.enter("retrying", cause=f"{interrupted}; next try in {pause:.0f} s")
            time.sleep(pause)
