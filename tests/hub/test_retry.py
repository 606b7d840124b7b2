"""A hub that is busy or away is asked again, but not for ever."""

from pathlib import Path

import pytest

from mlxd.errors import HubUnreachable
from tests.fakes.hub import INFO, FakeHub, Refuse
from tests.hub.conftest import TINY, Puller, contents


@pytest.mark.parametrize("place", [INFO, "config.json", "model.safetensors"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_asked_again(pull: Puller, hub: FakeHub, place: str, status: int) -> None:
    hub.fails(place, Refuse(status))
    assert contents(Path(pull().path)) == TINY
    assert any(f"answered with status {status}" in note for note in pull.notes())


def test_retry_after_is_honoured_up_to_a_limit(pull: Puller, hub: FakeHub) -> None:
    hub.fails("config.json", Refuse(429, headers={"Retry-After": "86400"}))
    pull()
    assert "the hub answered with status 429; next try in 0 s" in pull.notes()  # 0.5, not a day


def test_an_unreachable_hub_is_reported_soon(pull: Puller, hub: FakeHub) -> None:
    hub.url = "http://127.0.0.1:9"
    with pytest.raises(HubUnreachable, match=r"127.0.0.1:9 cannot be reached \(tried 2 times\)"):
        pull()
