"""A file that comes in pieces: what is here of it is known after any end of the process."""

from pathlib import Path

import pytest

from mlxd.hub.partial_file import PIECE, ByteRange, PartialFile, bytes_here

SIZE = 3 * PIECE + 100


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "hash.part"


def come(file: PartialFile, taken: ByteRange, size: int) -> int:
    """Store `size` bytes of a range, and return how many were new."""
    file.store(taken.at, b"x" * size)
    fresh = file.count(taken.at, taken.at + size)
    taken.at += size
    return fresh


def bounds(taken: ByteRange | None) -> tuple[int, int] | None:
    return taken and (taken.start, taken.end)


def test_ranges_are_taken_from_the_beginning_in_whole_pieces(part: Path) -> None:
    file = PartialFile(part, SIZE)
    assert bounds(file.take(2 * PIECE)) == (0, 2 * PIECE)
    assert bounds(file.take(1)) == (2 * PIECE, 3 * PIECE)
    assert bounds(file.take(SIZE)) == (3 * PIECE, SIZE)
    assert file.take(SIZE) is None


def test_the_next_process_takes_what_did_not_come(part: Path) -> None:
    file = PartialFile(part, SIZE)
    first, second = file.take(2 * PIECE), file.take(PIECE)
    assert first is not None
    assert second is not None
    come(file, second, 70)
    come(file, first, PIECE + 30)
    assert bytes_here(part) == PIECE + 100
    assert part.stat().st_size == 2 * PIECE + 70

    file = PartialFile(part, SIZE)
    assert file.missing == SIZE - PIECE - 100
    assert bounds(file.take(SIZE)) == (PIECE + 30, 2 * PIECE)
    assert bounds(file.take(SIZE)) == (2 * PIECE + 70, SIZE)


def test_a_range_that_is_given_back_is_taken_where_it_stopped(part: Path) -> None:
    file = PartialFile(part, SIZE)
    taken = file.take(PIECE)
    assert taken is not None
    come(file, taken, 10)
    file.release(taken)
    assert bounds(file.take(PIECE)) == (10, PIECE)


def test_bytes_that_come_twice_count_once(part: Path) -> None:
    part.write_bytes(b"x" * 50)
    file = PartialFile(part, SIZE)
    whole = file.take_all()
    assert whole is not None
    assert (bounds(whole), file.take_all()) == ((0, SIZE), None)
    assert [come(file, whole, 40), come(file, whole, 40)] == [0, 30]
    assert bytes_here(part) == 80


def test_a_part_without_ranges_came_in_its_order(part: Path) -> None:
    part.write_bytes(b"x" * (PIECE + 5))
    assert bytes_here(part) == PIECE + 5
    file = PartialFile(part, SIZE)
    assert bounds(file.take(SIZE)) == (PIECE + 5, SIZE)
    assert bytes_here(part) == PIECE + 5
    part.with_suffix(".ranges").unlink()
    part.write_bytes(b"x" * (SIZE + 5))
    assert PartialFile(part, SIZE).missing == 0


@pytest.mark.parametrize("content", [b"", b"123", bytes(400)])
def test_ranges_that_do_not_fit_count_as_nothing(part: Path, content: bytes) -> None:
    part.write_bytes(b"x" * SIZE)
    part.with_suffix(".ranges").write_bytes(content)
    assert bytes_here(part) == 0
    assert PartialFile(part, SIZE).missing == SIZE


def test_ranges_of_a_part_that_is_gone_count_as_nothing(part: Path) -> None:
    file = PartialFile(part, SIZE)
    taken = file.take(PIECE)
    assert taken is not None
    come(file, taken, PIECE)
    part.unlink()
    assert bytes_here(part) == 0
    assert PartialFile(part, SIZE).missing == SIZE
