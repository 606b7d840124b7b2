"""When a download tries again, and how long it waits before."""

from dataclasses import dataclass


class Interrupted(Exception):
    """The hub did not answer this time; it may have asked to wait `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RangesRefused(Interrupted):
    """The hub does not send a part of the file, but perhaps the whole of it."""


@dataclass(frozen=True)
class RetryPolicy:
    """The first and the longest pause between tries, in seconds.

    `tries` is how many tries in a row may bring nothing once a download has begun, which takes
    about an hour; `first_tries` is the same before, when a user may be waiting. A connection that
    is silent for `patience` seconds is replaced by one that has nothing to do.
    """

    first_pause: float = 1.0
    longest_pause: float = 60.0
    tries: int = 65
    first_tries: int = 6
    patience: float = 5.0

    def pause(self, failures: int, interrupted: Interrupted) -> float:
        """Return how long to wait, in seconds, after `failures` tries in a row."""
        pause = min(self.first_pause * 2.0 ** (failures - 1), self.longest_pause)
        return max(pause, min(interrupted.retry_after, 10 * self.longest_pause))
