"""What counts as growth, and what is only coming and going."""

from tests.bad_requests.leftovers import Held, grown


def rounds(*daemon: int, threads: int = 9) -> list[Held]:
    """Return samples of a daemon that takes so many megabytes."""
    return [Held(size * 10**6, 100 * 10**6, threads, 20, 2, 0) for size in daemon]


def test_what_comes_and_goes_is_no_growth() -> None:
    assert grown(rounds(50, 90, 60, 90, 50, 60), 0.1, 10**7) == []
    assert grown(rounds(50), 0.1, 10**7) == []


def test_what_stays_is_growth() -> None:
    assert grown(rounds(50, 60, 70, 80, 90, 100), 0.1, 10**7) == ["daemon: 60 to 90 MB"]
    assert grown(rounds(50) + rounds(50, threads=20), 0.1, 10**7) == ["threads: 9 to 20"]
