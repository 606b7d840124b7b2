"""The requests that may have ended an engine, so that none of them does it again and again.

A request is known by a salted digest, which is kept in memory only and for ten minutes. If it ran
alone when the engine died, or if two engines died with it, it runs alone and is not retried when it
is sent again. If the engine then dies once more, the request is refused from then on.
"""

import asyncio
import hashlib
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from mlxd.generate_request import GenerateRequest

_REMEMBERED_SECONDS = 600.0
_MOST = 256
_STRONG = 2


@dataclass
class Suspicion:
    """What is known of a request: its `strikes`, and how many `pieces` of an answer it got at most.

    `proven` is whether it ended an engine that ran nothing else. It is remembered `until` that time
    on the clock of its `Suspects`.
    """

    until: float
    strikes: int = 0
    pieces: int = 0
    proven: bool = False

    @property
    def strong(self) -> bool:
        """Whether the request runs alone from now on."""
        return self.strikes >= _STRONG


class Suspects:
    """The requests of one model that may have ended its engine."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._salt = secrets.token_bytes(16)
        self._known: dict[bytes, Suspicion] = {}

    def find(self, requests: Sequence[GenerateRequest]) -> Suspicion | None:
        """Return what is known of a request, if it is suspected."""
        self._forget_old()
        return self._known.get(self._digest(requests)) if self._known else None

    def add(self, requests: Sequence[GenerateRequest], pieces: int, *, alone: bool) -> None:
        """Note that an engine died while a request ran on it, perhaps with others."""
        suspicion = self._remember(requests)
        suspicion.strikes += _STRONG if alone else 1
        suspicion.pieces = max(suspicion.pieces, pieces)

    def prove(self, requests: Sequence[GenerateRequest]) -> None:
        """Note that a request ended an engine that ran nothing else."""
        self._remember(requests).proven = True

    def clear(self, requests: Sequence[GenerateRequest]) -> None:
        """Note that a request has got further than when its engine died."""
        if self._known:
            self._known.pop(self._digest(requests), None)

    def minutes_left(self, suspicion: Suspicion) -> int:
        """Return for how many minutes more, at most, a suspicion is remembered."""
        return max(1, math.ceil((suspicion.until - self._clock()) / 60))

    def _remember(self, requests: Sequence[GenerateRequest]) -> Suspicion:
        self._forget_old()
        digest, until = self._digest(requests), self._clock() + _REMEMBERED_SECONDS
        suspicion = self._known.pop(digest, None) or Suspicion(until)
        suspicion.until = until
        self._known[digest] = suspicion
        if len(self._known) > _MOST:
            del self._known[next(iter(self._known))]
        return suspicion

    def _forget_old(self) -> None:
        now = self._clock()
        for digest in [each for each, known in self._known.items() if known.until < now]:
            del self._known[digest]

    def _digest(self, requests: Sequence[GenerateRequest]) -> bytes:
        plain = msgspec.structs.replace(requests[0], seed=None)
        encoded = msgspec.msgpack.encode((len(requests), plain))
        return hashlib.blake2b(encoded, digest_size=16, key=self._salt).digest()


class Trials:
    """Lets the requests of a model that run again after their engine died run one at a time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[None]:
        """Wait for the trials that began earlier, then hold the only one."""
        self._count += 1
        self._none.clear()
        try:
            async with self._lock:
                yield
        finally:
            self._count -= 1
            if not self._count:
                self._none.set()

    async def over(self) -> None:
        """Wait until there are no trials."""
        await self._none.wait()
