"""How long the parts of a request took."""

import asyncio
from collections.abc import Sequence

from mlxd.messages import ChoiceEvent, Finished, PrefillProgress, Started


class Timing:
    """When things happened to a request, by the event loop's clock; the last try counts."""

    def __init__(self) -> None:
        self._now = asyncio.get_running_loop().time
        self._accepted = self._now()
        self._started: float | None = None
        self._first: float | None = None
        self._ended: float | None = None

    def note(self, events: Sequence[ChoiceEvent]) -> None:
        """Take what has come, at the time that it comes."""
        if self._first is None:
            for _, event in events:
                if isinstance(event, Started):
                    self._started = self._started or self._now()
                elif not isinstance(event, PrefillProgress):
                    self._first = self._now()
                    break
        if isinstance(events[-1][1], Finished):
            self._ended = self._now()

    def again(self) -> None:
        """Begin anew, on another engine; the time until now was spent waiting."""
        self._started = self._first = self._ended = None

    @property
    def queue(self) -> float | None:
        """Seconds until an engine took the request, the load of its model included."""
        return _between(self._accepted, self._started)

    @property
    def prefill(self) -> float | None:
        """Seconds from there to the first piece of the answer."""
        return _between(self._started, self._first)

    @property
    def decode(self) -> float | None:
        """Seconds from the first piece to the end; none where all came at once."""
        return _between(self._first, self._ended) or None


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else end - start
