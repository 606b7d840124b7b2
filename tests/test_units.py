"""Sizes, durations and addresses."""

import pytest

from mlxd.units import address, amount, parse_duration, parse_seconds, size


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
    assert size(count) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (999, "999"),
        (115_000, "115 thousand"),
        (134_515_008, "135 million"),
        (32 * 10**8, "3.2 billion"),
    ],
)
def test_an_amount_is_in_words(count: int, shown: str) -> None:
    assert amount(count) == shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("1.5h", 5400), ("2d", 172_800)],
)
def test_a_duration_is_a_sum_of_numbers_with_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "1h 30m", "five minutes", "5m\n"])
def test_what_is_no_duration(text: str) -> None:
    assert parse_duration(text) is None


@pytest.mark.parametrize(("text", "seconds"), [("5", 5), ("0.5", 0.5), ("1h30m", 5400)])
def test_seconds_are_a_number_or_a_duration(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "-5", "1e3", "5\n", "soon"])
def test_what_is_no_number_of_seconds(text: str) -> None:
    assert parse_seconds(text) is None


def test_an_address_with_six_parts_has_brackets() -> None:
    assert address("127.0.0.1", 8080) == "127.0.0.1:8080"
    assert address("::1", 8080) == "[::1]:8080"
