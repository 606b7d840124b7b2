"""Progress is reported at every change of state, and else a few times a second."""

from types import SimpleNamespace

import pytest

from mlxd.control_api import PullStatus
from mlxd.hub import meter
from mlxd.hub.meter import Meter
from mlxd.hub.reference import parse
from tests.support.clock import Clock


def make_meter() -> tuple[Meter, list[PullStatus]]:
    reports: list[PullStatus] = []
    return Meter(parse("acme/tiny@v2"), reports.append), reports


def test_progress_is_reported_a_few_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(meter, "time", SimpleNamespace(monotonic=clock))
    metered, reports = make_meter()
    metered.plan(100, 1000)
    metered.enter("downloading", "config.json")
    for _ in range(50):
        metered.add(10)
        clock.now += 0.1
    assert [report.bytes_done for report in reports[:3]] == [100, 140, 170]
    assert 10 < len(reports) < 25
    assert metered.fetched == 500
    assert (reports[-1].model, reports[-1].revision, reports[-1].state) == (
        "acme/tiny",
        "v2",
        "downloading",
    )


def test_a_change_of_state_is_reported_once() -> None:
    metered, reports = make_meter()
    for state in ("asking", "asking", "retrying", "retrying"):
        metered.enter(state)
    assert [report.state for report in reports] == ["asking", "retrying"]


def test_discarded_bytes_count_as_fetched_but_not_as_done() -> None:
    metered, reports = make_meter()
    metered.add(10)
    metered.discard(10)
    metered.enter("verifying")
    assert (metered.fetched, reports[-1].bytes_done) == (10, 0)
