"""How many requests there may be at a time, and how large their bodies may be together.

A request counts from before its body is read until its end.
"""

import contextlib
from collections.abc import Callable, Iterator

from mlxd.errors import QueueFull

_LARGE = 1_000_000


class Intake:
    """Counts requests, at most `places`, and the bytes of their bodies, at most `size`.

    `size` does not apply to a body that is alone: `server.max_body` does. `relieved` is called when
    large bodies are gone.
    """

    def __init__(self, places: int, size: int, relieved: Callable[[], None] = lambda: None) -> None:
        self._places = places
        self._size = size
        self._taken = self._bytes = 0
        self._relieved = relieved
        self._laden = False

    def configure(self, places: int, size: int) -> None:
        """Take other limits, which apply to what arrives from now on."""
        self._places, self._size = places, size

    @contextlib.contextmanager
    def holding(self, *, place: bool = True) -> Iterator[Callable[[int], None]]:
        """Hold a place, if `place`, and yield a function to call with the number of bytes received.

        Both raise QueueFull.
        """
        if place and self._taken >= self._places:
            raise QueueFull(f"{self._places} requests are waiting or running (server.max_queue)")
        self._taken += place
        held = 0

        def take(count: int) -> None:
            nonlocal held
            held += count
            self._bytes += count
            if self._bytes > self._size and self._bytes > held:
                raise QueueFull(
                    f"requests of {self._size} bytes are waiting or running (server.max_queue_size)"
                )

        try:
            yield take
        finally:
            self._taken -= place
            self._bytes -= held
            self._laden = self._laden or held >= _LARGE
            if self._laden and self._bytes < _LARGE:
                self._laden = False
                self._relieved()
