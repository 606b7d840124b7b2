"""Work that may take too long."""

import threading

import pytest

from mlxd.engine.time_limit import within

SECONDS = 20


def test_it_returns_what_the_work_returns() -> None:
    assert within(SECONDS, lambda: 7) == 7


def test_it_raises_what_the_work_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        within(SECONDS, lambda: 1 / 0)


def test_a_loop_that_takes_too_long_is_ended() -> None:
    threads: list[threading.Thread] = []

    def loop() -> None:
        threads.append(threading.current_thread())
        while True:
            pass

    with pytest.raises(TimeoutError):
        within(0.05, loop)
    threads[0].join(SECONDS)
    assert not threads[0].is_alive()


@pytest.mark.usefixtures("no_thread_left")
def test_a_call_that_cannot_be_interrupted_is_not_waited_for() -> None:
    released = threading.Event()
    with pytest.raises(TimeoutError):
        within(0.05, lambda: released.wait(SECONDS))
    released.set()
