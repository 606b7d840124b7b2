"""A file that has not come completely: its bytes, and which of them are here.

    HASH.part    the bytes, each in its place
    HASH.ranges  how many bytes of each piece are here, counted from the beginning of the piece

`HASH.ranges` has a 32-bit number for each piece, in the machine's byte order, written after the
bytes that it counts. A file of one piece has none, nor has one that came in its order: there, all
bytes of `HASH.part` count.
"""

import os
from array import array
from dataclasses import dataclass
from pathlib import Path

from mlxd.files import write_atomically

PIECE = 4 << 20
PART, RANGES = ".part", ".ranges"
_COUNT = "I"
_COUNT_SIZE = array(_COUNT).itemsize


@dataclass
class ByteRange:
    """The bytes from `start` to before `end`, of which those before `at` have come."""

    start: int
    end: int
    at: int

    @property
    def left(self) -> int:
        """How many bytes are still to come."""
        return self.end - self.at


class PartialFile:
    """The file at `part`, which is `size` bytes long once it is complete.

    It is for one process. Its threads may call `store` at the same time, and nothing else.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, part: Path, size: int) -> None:
        self._size = size
        self._taken: set[int] = set()
        self._ranges: int | None = None
        known = _counts(part, size)
        if len(known) > 1:
            write_atomically(_ranges_of(part), known.tobytes())
            self._ranges = os.open(_ranges_of(part), os.O_WRONLY | os.O_CLOEXEC)
        self._counts = known
        self._part = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def close(self) -> None:
        """Close its files."""
        os.close(self._part)
        if self._ranges is not None:
            os.close(self._ranges)

    @property
    def missing(self) -> int:
        """How many bytes are not here."""
        return self._size - sum(self._counts)

    def take(self, most: int) -> ByteRange | None:
        """Return missing bytes that nobody else has taken, about `most` of them, if there are any.

        They are the first ones, so that the file grows with few gaps: some file systems fill these.
        """
        counts, taken = self._counts, self._taken
        for first, count in enumerate(counts):
            if first not in taken and count < self._piece_size(first):
                break
        else:
            return None
        start = first * PIECE + counts[first]
        taken.add(first)
        after = first + 1
        while after < len(counts) and after not in taken and not counts[after]:
            if min((after + 1) * PIECE, self._size) - start > most:
                break
            taken.add(after)
            after += 1
        return ByteRange(start, min(after * PIECE, self._size), start)

    def take_all(self) -> ByteRange | None:
        """Return the whole file, whatever is here, unless somebody has taken some of it."""
        if self._taken or not self.missing:
            return None
        self._taken.update(range(len(self._counts)))
        return ByteRange(0, self._size, 0)

    def release(self, taken: ByteRange) -> None:
        """Let others take what did not come of a range that `take` returned."""
        self._taken.difference_update(range(taken.start // PIECE, -(-taken.end // PIECE)))

    def store(self, at: int, block: bytes) -> None:
        """Write `block` at `at`; it counts once `count` is called."""
        left = memoryview(block)
        while left:
            written = os.pwrite(self._part, left, at)
            left, at = left[written:], at + written

    def count(self, start: int, end: int) -> int:
        """Count the bytes from `start` to `end`, and return how many of them were not here before.

        Those before them in the same piece must be here.
        """
        first, after = start // PIECE, -(-end // PIECE)
        fresh = 0
        for piece in range(first, after):
            here = min(end - piece * PIECE, PIECE)
            fresh += max(0, here - self._counts[piece])
            self._counts[piece] = max(here, self._counts[piece])
        if fresh and self._ranges is not None:
            changed = self._counts[first:after].tobytes()
            os.pwrite(self._ranges, changed, first * _COUNT_SIZE)
        return fresh

    def _piece_size(self, piece: int) -> int:
        return min(PIECE, self._size - piece * PIECE)


def bytes_here(part: Path) -> int:
    """Return how many bytes of an unfinished file are here."""
    size = _length(part)
    try:
        content = _ranges_of(part).read_bytes()
    except FileNotFoundError:
        return size
    if len(content) % _COUNT_SIZE:
        return 0
    return min(sum(array(_COUNT, content)), size)


def remove_ranges(part: Path) -> None:
    """Remove what is kept beside a part that becomes a complete file or is removed too."""
    _ranges_of(part).unlink(missing_ok=True)


def _counts(part: Path, size: int) -> "array[int]":
    """Return how many bytes of each piece are here."""
    ends = range(PIECE, size + PIECE, PIECE)
    whole = array(_COUNT, [min(PIECE, size - end + PIECE) for end in ends])
    length = _length(part)
    try:
        content = _ranges_of(part).read_bytes()
    except FileNotFoundError:
        here = (length - end + PIECE for end in ends)
        return array(_COUNT, map(min, whole, (max(0, count) for count in here)))
    fitting = length and len(content) == len(whole) * _COUNT_SIZE
    counts = array(_COUNT, content) if fitting else array(_COUNT, bytes(len(whole) * _COUNT_SIZE))
    return array(_COUNT, map(min, whole, counts))


def _ranges_of(part: Path) -> Path:
    return part.with_suffix(RANGES)


def _length(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
