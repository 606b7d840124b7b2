"""How much callers may ask for: at a time, and in a minute.

The section [limits] has the limits of all callers together, and those of each API key for which
`mlxctl key create` set no others. Requests and tokens per minute are token buckets: a minute's
worth may be used at once, and comes back steadily. A request that exceeds the limit on tokens is
still answered; further ones are refused until the tokens that it used have come back.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from mlxd.config import LimitsConfig
from mlxd.errors import RateLimited
from mlxd.http.callers import Caller
from mlxd.keys import KeyLimits

_MINUTE = 60.0
_EVERYONE = "all clients"

Clock = Callable[[], float]
Header = tuple[bytes, bytes]


class _Bucket:
    """A token bucket of `limit` units a minute."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self.limit = limit
        self._clock = clock
        self._level = float(limit)
        self._at = clock()

    @property
    def level(self) -> float:
        now = self._clock()
        self._level = min(self.limit, self._level + (now - self._at) * self.limit / _MINUTE)
        self._at = now
        return self._level

    def take(self, units: int) -> None:
        self._level = self.level - units

    def seconds_until(self, level: float) -> float:
        return max(0.0, level - self.level) * _MINUTE / self.limit


class _Share:
    """The limits of one caller, or of all together, and what they use of them."""

    def __init__(self, who: str, prefix: str, limits: KeyLimits, clock: Clock) -> None:
        self.limits = limits
        self.places = 0
        self.turns = asyncio.Semaphore(limits.running) if limits.running else None
        self.requests = _bucket(limits.requests_per_minute, clock)
        self.tokens = _bucket(limits.tokens_per_minute, clock)
        self._who = who
        self._prefix = prefix

    def check(self) -> None:
        """Raise RateLimited if another request is too much now."""
        limits = self.limits
        most = limits.running + limits.queued if limits.running and limits.queued is not None else 0
        if most and self.places >= most:
            allowed = f"{limits.running} may run and {limits.queued} may wait"
            raise self._refusal(f"of the requests of {self._who}, {allowed}", "queued", 1.0)
        if self.requests and self.requests.level < 1:
            allowed = f"{self._who} may send {self.requests.limit} requests a minute"
            raise self._refusal(allowed, "requests_per_minute", self.requests.seconds_until(1))
        if self.tokens and self.tokens.level < 1:
            allowed = f"{self._who} may use {self.tokens.limit} tokens a minute"
            raise self._refusal(allowed, "tokens_per_minute", self.tokens.seconds_until(1))

    def _refusal(self, allowed: str, key: str, seconds: float) -> RateLimited:
        seconds = max(1, math.ceil(round(seconds, 3)))
        text = f"{allowed} (limits.{self._prefix}{key}); try again in {seconds} s"
        return RateLimited(text, seconds)


class Place:
    """The place of one accepted request among those that may run or wait."""

    def __init__(self, shares: Sequence[_Share] = ()) -> None:
        self._shares = shares

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until the request may run, and count it as running until the block ends."""
        async with contextlib.AsyncExitStack() as held:
            for share in self._shares:
                if share.turns is not None:
                    await held.enter_async_context(share.turns)
            yield

    def spend(self, tokens: int) -> None:
        """Count tokens that were read or generated."""
        for share in self._shares:
            if share.tokens:
                share.tokens.take(tokens)


class Limiter:
    """Counts what callers use, and refuses requests beyond their limits."""

    def __init__(self, config: LimitsConfig, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._shares: dict[str, _Share] = {}
        self.configure(config)

    def configure(self, config: LimitsConfig) -> None:
        """Take other limits; callers whose limits change start afresh."""
        self._usual = KeyLimits(
            running=config.key_running,
            queued=config.key_queued,
            requests_per_minute=config.key_requests_per_minute,
            tokens_per_minute=config.key_tokens_per_minute,
        )
        overall = KeyLimits(
            running=config.running,
            queued=config.queued,
            requests_per_minute=config.requests_per_minute,
            tokens_per_minute=config.tokens_per_minute,
        )
        self._overall = self._share("", _EVERYONE, "", overall)

    @contextlib.contextmanager
    def place(self, caller: Caller) -> Iterator[Place]:
        """Hold a place for one request; raise RateLimited if there is none now."""
        shares = self._shares_of(caller)
        for share in shares:
            share.check()
        for share in shares:
            share.places += 1
            if share.requests:
                share.requests.take(1)
        try:
            yield Place(shares)
        finally:
            for share in shares:
                share.places -= 1

    def headers(self, caller: Caller, *, anthropic: bool = False) -> list[Header]:
        """Return OpenAI's headers about the limits of a caller, or of all callers.

        Of these, the limit that leaves less counts. With `anthropic`, Anthropic's headers about the
        same limits come with them.
        """
        shares = self._shares_of(caller)
        found: list[Header] = []
        for kind in ("requests", "tokens"):
            buckets: Iterator[_Bucket | None] = (getattr(share, kind) for share in shares)
            if bucket := min(filter(None, buckets), key=lambda each: each.level, default=None):
                seconds = bucket.seconds_until(bucket.limit)
                found += _headers(f"x-ratelimit-{{}}-{kind}", bucket, _duration(seconds))
                if anthropic:
                    full = datetime.now(UTC) + timedelta(seconds=seconds)
                    reset = full.isoformat(timespec="seconds").replace("+00:00", "Z")
                    found += _headers(f"anthropic-ratelimit-{kind}-{{}}", bucket, reset)
        return found

    def _shares_of(self, caller: Caller) -> list[_Share]:
        if not caller.limited:
            return [self._overall]
        own = msgspec.structs.asdict(caller.limits)
        named = {name: value for name, value in own.items() if value is not None}
        limits = msgspec.structs.replace(self._usual, **named)
        own_share = self._share(caller.salt, f"key {caller.name!r}", "key_", limits)
        return [own_share, self._overall]

    def _share(self, salt: str, who: str, prefix: str, limits: KeyLimits) -> _Share:
        """Return the share of the key with that salt, or of all, with these limits."""
        share = self._shares.get(salt)
        if share is None or share.limits != limits:
            share = self._shares[salt] = _Share(who, prefix, limits, self._clock)
        return share


def _bucket(limit: int | None, clock: Clock) -> _Bucket | None:
    return _Bucket(limit, clock) if limit else None


def _headers(name: str, bucket: _Bucket, reset: str) -> list[Header]:
    left = max(0, math.floor(bucket.level))
    texts = {"limit": str(bucket.limit), "remaining": str(left), "reset": reset}
    return [(name.format(kind).encode(), text.encode()) for kind, text in texts.items()]


def _duration(seconds: float) -> str:
    """Return a time as OpenAI writes it: "6m0s", "1.5s", "20ms"."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), int(_MINUTE))
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
