"""Several connections: what each fetches, and hubs that do not want them."""

import dataclasses
import hashlib
import os
import threading
from pathlib import Path

import pytest

from mlxd.errors import HubUnreachable
from mlxd.hub.partial_file import PIECE
from mlxd.hub.reference import parse
from mlxd.hub.staging import Pending, Staging
from tests.fakes.hub import Break, FakeHub, Hold, NoRanges, Refuse, Slow, Wrong
from tests.hub.conftest import CONFIG, IMPATIENT, Puller, contents
from tests.support.daemon_process import wait_until

WEIGHTS = "model.safetensors"
PIECES = 10
LARGE = {"config.json": CONFIG, WEIGHTS: os.urandom(PIECES * PIECE - 7), "tokenizer.json": b"{}"}
SIZE = len(LARGE[WEIGHTS])


@pytest.fixture(autouse=True)
def _hub_has_a_large_model(hub: FakeHub, pull: Puller) -> None:
    hub.repos["acme/tiny"].commit(LARGE)
    pull.silence = 30.0


def installed(pull: Puller) -> bool:
    return contents(Path(pull().path)) == LARGE


def grows(pull: Puller) -> bool:
    """Whether the progress never went back."""
    done = [report.bytes_done for report in pull.reports]
    return done == sorted(done)


def test_a_large_file_comes_in_ranges_over_several_connections(pull: Puller, hub: FakeHub) -> None:
    hub.rate = 6_000_000
    assert installed(pull)
    ranges = sorted((start, end) for name, start, end in hub.served if name == WEIGHTS)
    assert [start for start, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
    assert ranges[-1][1] == SIZE
    assert 4 <= hub.most_at_once <= 8  # on a busy machine the last ones have nothing left to do
    assert hub.sent[WEIGHTS] == SIZE
    assert grows(pull)
    assert not hub.leaked


def test_several_files_come_at_the_same_time(pull: Puller, hub: FakeHub) -> None:
    parts = {f"model-{number}.safetensors": os.urandom(1000) for number in range(4)}
    files = {"config.json": CONFIG, "tokenizer.json": b"{}", **parts}
    hub.repos["acme/parts"].commit(files)
    holds = [Hold(after=10) for _ in parts]
    for name, hold in zip(parts, holds, strict=True):
        hub.fails(name, hold)

    def let_go() -> None:
        wait_until(lambda: hub.at_once == len(parts), "all files are on their way")
        for hold in holds:
            hold.go_on.set()

    threading.Thread(target=let_go).start()
    assert contents(Path(pull("acme/parts").path)) == files


def test_one_connection_asks_once_for_each_file(pull: Puller, hub: FakeHub) -> None:
    pull.connections = 1
    assert installed(pull)
    assert [served for served in hub.served if served[0] == WEIGHTS] == [(WEIGHTS, 0, SIZE)]
    assert hub.most_at_once == 1


def test_a_pull_goes_on_with_the_ranges_that_are_missing(pull: Puller, hub: FakeHub) -> None:
    hub.fails(WEIGHTS, *[Break(1000), Break(PIECE // 2)] * 4, *[Refuse(503)] * 100)
    with pytest.raises(HubUnreachable, match=r"status 503 \(tried 4 times\)"):
        pull()
    here, sent = pull.staging().size_bytes(), hub.sent[WEIGHTS]
    hub.faults.clear()
    pull.reports.clear()
    done = pull()
    assert contents(Path(done.path)) == LARGE
    assert here == sent + len(CONFIG) + 2
    assert done.bytes_fetched == SIZE - sent
    assert hub.sent[WEIGHTS] == SIZE
    assert pull.reports[-1].bytes_done == pull.reports[-1].bytes_total
    assert grows(pull)


def test_a_part_of_the_version_before_is_used(pull: Puller, hub: FakeHub) -> None:
    file = Staging(pull.models_dir, "acme/tiny")
    file.write(Pending(parse("acme/tiny")))
    name = hashlib.sha256(LARGE[WEIGHTS]).hexdigest()
    (file.folder / f"{name}.part").write_bytes(LARGE[WEIGHTS][: PIECE + 3])
    assert installed(pull)
    assert hub.sent[WEIGHTS] == SIZE - PIECE - 3


@pytest.mark.parametrize("how", [NoRanges(), Refuse(416)])
def test_a_hub_that_sends_no_ranges_sends_the_whole_file(
    pull: Puller, hub: FakeHub, how: NoRanges | Refuse
) -> None:
    hub.without_ranges = how
    assert installed(pull)
    assert (WEIGHTS, 0, SIZE) in hub.served
    assert grows(pull)
    assert not pull.notes()


def test_a_hub_that_limits_connections_gets_no_more_than_it_takes(
    pull: Puller, hub: FakeHub
) -> None:
    hub.limit, hub.rate = 3, 10_000_000
    assert installed(pull)
    assert hub.most_at_once == 3
    assert 0 < hub.refused < 12
    assert hub.sent[WEIGHTS] == SIZE
    assert not pull.notes()  # it is no reason to worry


def test_an_address_that_has_expired_is_asked_for_anew(pull: Puller, hub: FakeHub) -> None:
    hub.fails(WEIGHTS, *[Refuse(403)] * 3)
    assert installed(pull)


@pytest.mark.parametrize("fault", [Hold(after=1000), Slow(100)])
def test_a_silent_or_slow_connection_does_not_hold_the_pull(
    pull: Puller, hub: FakeHub, fault: Hold | Slow
) -> None:
    pull.policy = dataclasses.replace(IMPATIENT, patience=0.2)
    hub.rate = 20_000_000
    hub.fails(WEIGHTS, fault)
    assert installed(pull)
    assert not pull.notes()


def test_a_file_that_changes_between_ranges_is_fetched_again(pull: Puller, hub: FakeHub) -> None:
    hub.fails(WEIGHTS, Wrong())
    assert installed(pull)
    assert SIZE < hub.sent[WEIGHTS] <= 2 * SIZE


def test_files_with_the_same_content_come_once(pull: Puller, hub: FakeHub) -> None:
    files = {**LARGE, "model-2.safetensors": LARGE[WEIGHTS]}
    hub.repos["acme/tiny"].commit(files)
    assert contents(Path(pull().path)) == files
    assert hub.sent[WEIGHTS] + hub.sent["model-2.safetensors"] == SIZE
    assert pull.reports[-1].bytes_done == pull.reports[-1].bytes_total
