"""Several files that come at the same time, over several connections.

Each connection is a thread. It takes a range of the first file that has bytes to give, fetches it,
and takes the next: as much as it brought in the last ten seconds, less towards the end. The thread
that brings the last range of a file verifies it. One lock guards everything but the bytes that
are received, written and hashed.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlxd.errors import HubUnreachable, MlxdError, PullFailed
from mlxd.hub.meter import Meter
from mlxd.hub.partial_file import PIECE, ByteRange, PartialFile
from mlxd.hub.repository import Repository
from mlxd.hub.retry import Interrupted, RangesRefused, RetryPolicy
from mlxd.hub.staging import RepoFile, Staging

_RANGE_SECONDS = 10
_FIRST_RANGE, _LONGEST_RANGE = 4 * PIECE, 64 * PIECE
_SLOW = 4  # times slower than another connection
_LOOK_SECONDS = 1.0


class _Source:
    """A file that has not come completely, and how often it came with a wrong hash."""

    def __init__(self, file: RepoFile) -> None:
        self.file = file
        self.wrong = 0
        self.verifying = False
        self.partial: PartialFile | None = None

    def close(self) -> None:
        if self.partial is not None:
            self.partial.close()
            self.partial = None


@dataclass(eq=False)
class _Fetch:
    """A range on its way; one that is `lost` has been given to another connection.

    `fresh` are the bytes that came and were not here before, `fetched` those that all connections
    had brought when it began.
    """

    source: _Source
    partial: PartialFile
    range: ByteRange
    fetched: int
    began: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    fresh: int = 0
    lost: bool = False

    def speed(self, now: float) -> float:
        return self.fresh / max(now - self.began, 1e-3)


class Transfer:
    """The transfer of `files` at `commit` into `staging`, over at most `connections` connections.

    A hub that refuses connections while others bring something gets fewer, and one more after a
    time that grows with each refusal. While nothing comes at all, one connection tries.
    """

    def __init__(
        self,
        repository: Repository,
        commit: str,
        files: Sequence[RepoFile],
        staging: Staging,
        meter: Meter,
        policy: RetryPolicy,
        connections: int,
    ) -> None:
        self._repository = repository
        self._commit = commit
        self._staging = staging
        self._meter = meter
        self._policy = policy
        self._most = self._allowed = connections
        self._sources = [_Source(file) for file in files]
        self._missing = sum(file.size - staging.present_bytes(file) for file in files)
        self._fetches: list[_Fetch] = []
        self._ranges: bool | None = None  # whether the hub sends ranges of these files
        self._failures = 0
        self._failed_at = 0.0
        self._resume_at = 0.0
        self._allow_more_at = 0.0
        self._allow_more_pause = policy.longest_pause
        self._error: MlxdError | OSError | None = None
        self._threads = 0
        self._changed = threading.Condition()

    def run(self) -> None:
        """Fetch and verify the files.

        Raises:
            PullRefused, PullFailed, HubUnreachable: they cannot be had; what has come is kept.
            OSError: a file cannot be written; what has come is kept.
        """
        for source in list(self._sources):
            if self._staging.complete_file(source.file).exists():
                self._sources.remove(source)
            elif self._staging.present_bytes(source.file) >= source.file.size:
                self._verify(source)
        with self._changed:
            pieces = sum(-(-source.file.size // PIECE) for source in self._sources)
            self._threads = min(self._most, pieces)
            for _ in range(self._threads):
                threading.Thread(target=self._connection, daemon=True).start()
            while self._sources and self._error is None and self._threads:
                self._changed.wait(_LOOK_SECONDS)
                self._meter.refresh()
            if self._error is not None:
                raise self._error
            if self._sources:
                raise PullFailed("internal error; see `mlxctl logs`")

    def _connection(self) -> None:
        """Fetch one range after the other."""
        speed = 0.0
        try:
            while (fetch := self._next(speed)) is not None:
                self._receive(fetch)
                if fetch.fresh and not fetch.lost:
                    speed = fetch.speed(time.monotonic())
        except (MlxdError, OSError) as error:
            with self._changed:
                self._error = self._error or error
        finally:
            with self._changed:
                self._threads -= 1
                self._changed.notify_all()

    def _receive(self, fetch: _Fetch) -> None:
        file, wanted = fetch.source.file, fetch.range
        try:
            with self._repository.open(self._commit, file, wanted.at, wanted.end) as blocks:
                at = wanted.at
                for block in blocks:
                    fetch.partial.store(at, block)
                    at += len(block)
                    if not self._came(fetch, at):
                        return
        except Interrupted as interrupted:
            self._failed(fetch, interrupted)
        else:
            self._ended(fetch)

    def _came(self, fetch: _Fetch, end: int) -> bool:
        """Count what has been written, and return whether more is wanted."""
        with self._changed:
            if fetch.lost or self._error is not None:
                return False
            fresh = fetch.partial.count(fetch.range.at, end)
            if fetch.range.end - fetch.range.start < fetch.source.file.size:
                self._ranges = True
            fetch.range.at = end
            fetch.heard = time.monotonic()
            fetch.fresh += fresh
            self._missing -= fresh
            self._meter.add(fresh)
            if self._failures and fresh:
                self._failures = 0
                self._changed.notify_all()
            return True

    def _ended(self, fetch: _Fetch) -> None:
        """Verify the file if that was the last of it."""
        source = fetch.source
        with self._changed:
            self._give_back(fetch)
            if fetch.lost or fetch.partial.missing or source.verifying:
                return
            source.verifying = True
            source.close()
            if not self._fetches:
                self._meter.enter("verifying", source.file.name)
        self._verify(source)

    def _give_back(self, fetch: _Fetch) -> None:
        if not fetch.lost:
            self._fetches.remove(fetch)
            fetch.partial.release(fetch.range)
            self._changed.notify_all()

    def _verify(self, source: _Source) -> None:
        """Take the file as complete, or fetch it once more.

        Raises:
            PullFailed: its hash was wrong twice.
        """
        right = self._staging.complete(source.file)
        with self._changed:
            source.verifying = False
            if right:
                self._sources.remove(source)
            else:
                source.wrong += 1
                self._missing += source.file.size
                self._meter.discard(source.file.size)
            self._changed.notify_all()
        if source.wrong > 1:
            raise PullFailed(
                f"{source.file.name} of {self._repository.reference.repo} had a wrong hash twice: "
                f"what the hub sends is not what it announces ({source.file.hash[:12]}…)"
            )

    def _next(self, speed: float) -> _Fetch | None:
        """Wait for a range that may be fetched now; None at the end.

        `speed` is that of the connection's last range in bytes per second, 0 if there was none.
        """
        with self._changed:
            while self._sources and self._error is None:
                now = time.monotonic()
                if now >= self._allow_more_at and self._allowed < self._most:
                    self._allowed += 1
                    self._allow_more_at = now + self._policy.longest_pause
                allowed = 1 if self._failures > 1 else self._allowed
                if now >= self._resume_at and len(self._fetches) < allowed:
                    fetch = self._take(speed) or self._take_over(speed, now)
                    if fetch is not None:
                        self._fetches.append(fetch)
                        self._meter.enter("downloading", self._sources[0].file.name)
                        return fetch
                wait = self._resume_at - now
                self._changed.wait(wait if wait > 0 else _LOOK_SECONDS)
            return None

    def _take(self, speed: float) -> _Fetch | None:
        most = self._missing
        if self._most > 1:
            waiting = self._missing - sum(fetch.range.left for fetch in self._fetches)
            usual = min(speed * _RANGE_SECONDS or _FIRST_RANGE, _LONGEST_RANGE)
            most = min(int(usual), waiting // (2 * self._most))
        for source in self._sources:
            if source.verifying:
                continue
            partial = source.partial
            if partial is None:
                part = self._staging.part(source.file)
                partial = source.partial = PartialFile(part, source.file.size)
            taken = partial.take_all() if self._ranges is False else partial.take(most)
            if taken is not None:
                return _Fetch(source, partial, taken, self._meter.fetched)
        return None

    def _take_over(self, speed: float, now: float) -> _Fetch | None:
        """Take the rest of a range whose connection is silent or slow."""
        patience = self._policy.patience
        for fetch in self._fetches:
            brings = fetch.speed(now)
            is_slow = brings * _SLOW < speed and fetch.range.left > brings * patience
            late = now - fetch.began > patience and is_slow
            if self._ranges and (late or now - fetch.heard > patience):
                fetch.lost = True
                self._fetches.remove(fetch)
                rest = ByteRange(fetch.range.at, fetch.range.end, fetch.range.at)
                return _Fetch(fetch.source, fetch.partial, rest, self._meter.fetched)
        return None

    def _failed(self, fetch: _Fetch, interrupted: Interrupted) -> None:
        """Return the range to the others, and wait before the next try."""
        with self._changed:
            if fetch.lost:
                return
            self._give_back(fetch)
            if isinstance(interrupted, RangesRefused) and not self._ranges:
                self._ranges = False
                return
            now, policy = time.monotonic(), self._policy
            if not fetch.fresh and self._meter.fetched > fetch.fetched:  # others got something
                self._allowed = max(1, len(self._fetches))
                self._allow_more_at = now + self._allow_more_pause
                self._allow_more_pause *= 2
            if fetch.began >= self._failed_at:  # else it is part of a failure that was counted
                self._failures += 1
            self._failed_at = now
            if self._failures >= policy.tries:
                tried = f"{interrupted} (tried {self._failures} times)"
                self._error = self._error or HubUnreachable(tried)
            pause = policy.pause(max(self._failures, 1), interrupted)
            self._resume_at = max(self._resume_at, now + pause)
            if not self._fetches:
                self._meter.enter("retrying", cause=f"{interrupted}; next try in {pause:.0f} s")
