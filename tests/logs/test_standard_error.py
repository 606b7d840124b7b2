"""Standard error, where a service manager appends it to a file."""

from pathlib import Path

import pytest

from mlxd.logs.standard_error import keep_small


@pytest.mark.parametrize(
    ("mode", "size", "left"), [("a", 70_000, 0), ("a", 60_000, 60_000), ("w", 70_000, 70_000)]
)
def test_only_a_large_file_that_is_appended_to_is_emptied(
    tmp_path: Path, mode: str, size: int, left: int
) -> None:
    with (tmp_path / "stderr.log").open(mode) as file:
        file.write("x" * size)
        file.flush()
        keep_small(file.fileno())
    assert (tmp_path / "stderr.log").stat().st_size == left


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    with open("/dev/null", "a") as nothing:
        keep_small(nothing.fileno())
    keep_small(1_000_000)  # which nobody has open
