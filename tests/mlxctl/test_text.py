import pytest

from mlxctl import text


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (98_362_432, "98 MB"),
        (999_600_000, "1.0 GB"),
        (1_234_000_000, "1.2 GB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_a_size_has_two_or_three_digits(count: int, shown: str) -> None:
    assert text.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "0 s"),
        (192, "3 min 12 s"),
        (2 * 3600 + 300, "2 h 5 min"),
        (6 * 86400 + 3700, "6 d 1 h"),
    ],
)
def test_a_duration_has_its_two_largest_parts(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


def test_a_table_aligns_its_columns() -> None:
    assert text.table([("MODEL", "STATE", ""), ("a", "ready", "")]) == "MODEL  STATE\na      ready"
