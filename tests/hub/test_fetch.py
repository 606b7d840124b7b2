"""A file from a hub that breaks off, falls silent, or knows no ranges."""

from pathlib import Path

from tests.fakes.hub import Break, FakeHub, Hold, NoRanges
from tests.hub.conftest import TINY, WEIGHTS, Puller, contents

SIZES = {name: len(content) for name, content in TINY.items()}


def test_a_broken_connection_is_resumed_at_the_same_byte(pull: Puller, hub: FakeHub) -> None:
    half = len(WEIGHTS) // 2
    hub.fails("model.safetensors", Break(half), Break(1), Break(0), Break(1))
    assert contents(Path(pull().path)) == TINY
    assert dict(hub.sent) == SIZES
    assert "the connection to the hub broke; next try in 0 s" in pull.notes()


def test_a_silent_hub_is_asked_again(pull: Puller, hub: FakeHub) -> None:
    hub.fails("model.safetensors", Hold(after=100_000))
    assert contents(Path(pull().path)) == TINY
    assert any("stopped sending" in note for note in pull.notes())
    assert hub.sent["model.safetensors"] == len(WEIGHTS)


def test_a_hub_without_ranges_sends_the_whole_file_again(pull: Puller, hub: FakeHub) -> None:
    hub.fails("model.safetensors", Break(100_000), NoRanges())
    assert contents(Path(pull().path)) == TINY
    assert pull.reports[-1].bytes_done == sum(SIZES.values())
