"""What is counted, and under which labels."""

from dataclasses import dataclass

from mlxd.activity import ServedRequest
from mlxd.metrics.metrics import Metrics
from tests.support.counts import counted


@dataclass
class Request:
    number: int
    running: bool = False
    state: str = "queued"
    status: int | None = None

    def served(self) -> ServedRequest:
        return ServedRequest(
            id=str(self.number),
            at=0,
            dialect="chat",
            caller="anyone",
            state=self.state,
            status=self.status,
        )


def test_few_models_have_labels_of_their_own() -> None:
    metrics = Metrics()
    for number in range(30):
        metrics.generated(f"model-{number}", 1)
    counts = counted(metrics, "mlxd_generation_tokens")
    assert len(counts) == 21
    assert counts["model-19",] == 1
    assert counts["other",] == 10


def test_what_has_not_happened_yet_counts_as_none() -> None:
    metrics = Metrics()
    metrics.generated("tiny", 1)
    assert counted(metrics, "mlxd_engine_crashes") == {("tiny",): 0}
    assert counted(metrics, "mlxd_pulls") == {("done",): 0, ("failed",): 0, ("cancelled",): 0}


def test_requests_run_wait_and_end() -> None:
    metrics = Metrics()
    first, second = Request(1), Request(2)
    metrics.requests.begin(first)
    metrics.requests.begin(second)
    first.running, first.state = True, "writing"
    metrics.requests.changed()
    activity = metrics.activity(hour=False)
    assert (activity.running, activity.waiting) == (1, 1)
    assert [each.id for each in activity.requests] == ["2", "1"]
    first.state, first.status = "done", 200
    second.state = "aborted"
    metrics.ended(first)
    metrics.ended(second)
    activity = metrics.activity(hour=False)
    assert (activity.running, activity.waiting) == (0, 0)
    assert activity.history.running[-1] == 1
    assert activity.history.requests[-1] == 2
    assert (activity.requests_total, activity.failed_total) == (2, 0)
    assert counted(metrics, "mlxd_requests") == {
        ("chat", "200", "done"): 1,
        ("chat", "499", "aborted"): 1,
    }


def test_the_last_requests_are_listed_and_those_that_run_first() -> None:
    metrics = Metrics()
    live = Request(1000, running=True)
    metrics.requests.begin(live)
    for number in range(250):
        request = Request(number, state="failed", status=500)
        metrics.requests.begin(request)
        metrics.ended(request)
    listed = [int(each.id) for each in metrics.activity(hour=False).requests]
    assert listed == [1000, *range(249, 49, -1)]
    assert metrics.activity(hour=False).failed_total == 250


def test_the_hour_is_longer() -> None:
    metrics = Metrics()
    assert len(metrics.activity(hour=False).history.requests) == 24
    assert len(metrics.activity(hour=True).history.requests) == 720
