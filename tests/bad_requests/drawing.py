"""Draws cases of all kinds, so many and from a seed."""

import functools
import warnings

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

from tests.bad_requests import torn_http, web_sockets
from tests.bad_requests.bodies import large, typed
from tests.bad_requests.case import Case
from tests.bad_requests.dialects import CONTROL, GENERATING, OTHERS
from tests.bad_requests.poison import poisoned

_Cases = st.SearchStrategy[Case]


@functools.cache
def kinds() -> dict[str, tuple[float, _Cases]]:
    """Return, by name, the share and the cases of each kind."""
    every = [*GENERATING, *OTHERS, *CONTROL]
    return {
        "typed": (0.55, st.one_of(*(typed(each) for each in (*GENERATING * 2, *OTHERS, *CONTROL)))),
        "poison": (0.12, st.one_of(*(poisoned(each) for each in (*GENERATING, *OTHERS[:3])))),
        "large": (0.01, st.one_of(*map(large, every))),
        "heads": (0.08, torn_http.heads()),
        "cut": (0.09, torn_http.cut()),
        "slow": (0.02, torn_http.slow()),
        "reads": (0.08, torn_http.reads()),
        "frames": (0.02, web_sockets.frames()),
        "turns": (0.03, web_sockets.messages()),
    }


def drawn(count: int, number: int, only: str | None = None) -> list[Case]:
    """Return `count` cases, mixed, always the same ones for one `number`."""
    found: list[list[Case]] = []
    for name, (share, cases) in kinds().items():
        if only in (None, name):
            many = count if only else max(1, round(count * share))
            found.append(_some(cases, many, number))
    places = [(place / len(cases), case) for cases in found for place, case in enumerate(cases)]
    return [case for _, case in sorted(places, key=lambda each: each[0])][:count]


def _some(cases: _Cases, count: int, number: int) -> list[Case]:
    taken: list[Case] = []

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def take(case: Case) -> None:
        taken.append(case)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)  # of strategies that are long to print
        take()
    return taken
