"""A pull from start to end: what is fetched, what is kept, and what takes its place."""

import os
import shutil
from pathlib import Path

import pytest

from mlxd.errors import HubUnreachable, PullFailed
from mlxd.hub.reference import parse
from mlxd.hub.staging import Pending, unfinished
from tests.fakes.hub import INFO, Break, Endless, FakeHub, Refuse, Wrong
from tests.hub.conftest import TINY, WEIGHTS, Puller, contents

SIZES = {name: len(content) for name, content in TINY.items()}


def test_a_pull_installs_the_model_and_fetches_each_byte_once(pull: Puller, hub: FakeHub) -> None:
    done = pull()
    assert contents(Path(done.path)) == TINY
    assert done.path == str(pull.models_dir / "acme/tiny")
    assert done.commit == hub.repos["acme/tiny"].revisions["main"]
    assert done.bytes_fetched == done.size_bytes == sum(SIZES.values())
    assert dict(hub.sent) == SIZES
    assert os.listdir(pull.models_dir / ".pulls") == []
    assert pull.reports[-1].bytes_done == pull.reports[-1].bytes_total == done.size_bytes


def test_the_next_pull_resumes_what_has_come(pull: Puller, hub: FakeHub) -> None:
    half = len(WEIGHTS) // 2
    hub.fails("model.safetensors", Break(half), *[Refuse(503)] * 4)
    with pytest.raises(HubUnreachable, match="answered with status 503 \\(tried 4 times\\)"):
        pull()
    assert not (pull.models_dir / "acme").exists()
    assert [str(pending.reference) for pending in unfinished(pull.models_dir)] == ["acme/tiny"]

    done = pull()
    assert contents(Path(done.path)) == TINY
    assert done.bytes_fetched == len(WEIGHTS) - half
    assert dict(hub.sent) == SIZES


def test_an_unchanged_model_is_up_to_date(pull: Puller, hub: FakeHub) -> None:
    pull()
    hub.sent.clear()
    again = pull()
    assert again.up_to_date
    assert not hub.sent
    assert os.listdir(pull.models_dir / ".pulls") == []


def test_a_missing_file_is_fetched_again(pull: Puller, hub: FakeHub) -> None:
    folder = Path(pull().path)
    (folder / "tokenizer.json").unlink()
    hub.sent.clear()
    assert not pull().up_to_date
    assert contents(folder) == TINY
    assert set(hub.sent) == {"tokenizer.json"}


def test_an_update_fetches_only_the_changed_files(pull: Puller, hub: FakeHub) -> None:
    folder = Path(pull().path)
    with (folder / "model.safetensors").open("rb") as in_use:
        changed = {**TINY, "tokenizer.json": b'{"new": 1}', "vocab.txt": b"a"}
        hub.repos["acme/tiny"].commit(changed)
        hub.sent.clear()
        assert pull().bytes_fetched == len(b'{"new": 1}') + 1
        assert contents(folder) == changed
        assert set(hub.sent) == {"tokenizer.json", "vocab.txt"}
        assert in_use.read() == WEIGHTS


def test_a_file_that_was_modified_on_disk_is_fetched_again(pull: Puller, hub: FakeHub) -> None:
    folder = Path(pull().path)
    (folder / "model.safetensors").write_bytes(b"?" * len(WEIGHTS))
    hub.repos["acme/tiny"].commit({**TINY, "vocab.txt": b"a"})
    pull()
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_new_commit_during_a_pull_fetches_only_what_differs(pull: Puller, hub: FakeHub) -> None:
    hub.fails("model.safetensors", Break(1000), *[Refuse(503)] * 4)
    with pytest.raises(HubUnreachable):
        pull()
    hub.repos["acme/tiny"].commit({**TINY, "tokenizer.json": b'{"new": 1}'})
    pull()
    assert hub.sent["model.safetensors"] == len(WEIGHTS)
    assert hub.sent["config.json"] == SIZES["config.json"]


def test_a_file_with_a_wrong_hash_is_fetched_once_more(pull: Puller, hub: FakeHub) -> None:
    hub.fails("model.safetensors", Wrong())
    hub.fails("tokenizer.json", Wrong())
    assert contents(Path(pull().path)) == TINY
    assert pull.reports[-1].bytes_done == pull.reports[-1].bytes_total


def test_a_hub_that_sends_more_than_it_announced(pull: Puller, hub: FakeHub) -> None:
    hub.fails("model.safetensors", Endless())
    assert contents(Path(pull().path)) == TINY


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_hash_that_is_wrong_twice_fails_the_pull(pull: Puller, hub: FakeHub, name: str) -> None:
    hub.fails(name, Wrong(), Wrong())
    with pytest.raises(PullFailed, match=f"{name} of acme/tiny had a wrong hash twice"):
        pull()
    assert not (pull.models_dir / "acme").exists()
    assert contents(Path(pull().path)) == TINY


def test_a_part_that_is_damaged_on_disk_is_fetched_again(pull: Puller, hub: FakeHub) -> None:
    hub.fails("model.safetensors", Break(1000), *[Refuse(503)] * 4)
    with pytest.raises(HubUnreachable):
        pull()
    (part,) = (pull.models_dir / ".pulls/acme--tiny").glob("*.part")
    part.write_bytes(b"?" * 1000)
    assert contents(Path(pull().path)) == TINY


def test_bytes_that_are_on_disk_need_no_more_room(
    pull: Puller, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fails("model.safetensors", Break(len(WEIGHTS) - 10), *[Refuse(503)] * 4)
    with pytest.raises(HubUnreachable):
        pull()
    usage = shutil.disk_usage(pull.models_dir)._replace(free=10**9 + 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert contents(Path(pull().path)) == TINY


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_keeps_what_has_come(pull: Puller, hub: FakeHub) -> None:
    hub.fails("tokenizer.json", *[Refuse(503)] * 4)
    with pytest.raises(HubUnreachable):
        pull()
    info = hub.repos["acme/tiny"]
    staging = pull.staging()
    (part,) = staging.folder.glob("*.part")
    part.unlink()
    part.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        pull()
    part.unlink()
    assert pull().commit == info.revisions["main"]
    assert hub.sent["config.json"] == SIZES["config.json"]


def test_a_folder_that_was_not_pulled_is_left_alone(pull: Puller, hub: FakeHub) -> None:
    mine = pull.models_dir / "acme" / "tiny"
    mine.mkdir(parents=True)
    (mine / "config.json").write_text("mine")
    with pytest.raises(PullFailed, match="acme/tiny already exists and was not pulled"):
        pull()
    assert contents(mine) == {"config.json": b"mine"}
    (mine.parent / "config.json").write_text("mine")
    with pytest.raises(PullFailed, match="acme is itself a model"):
        pull("acme/other")


def test_an_update_that_was_killed_half_way_is_finished(pull: Puller, hub: FakeHub) -> None:
    folder = Path(pull().path)
    changed = {**TINY, "vocab.txt": b"a"}
    hub.repos["acme/tiny"].commit(changed)
    # The old one was put aside, and the new one not yet in its place.
    staging = pull.staging()
    staging.write(Pending(parse("acme/tiny")))
    folder.rename(staging.folder / "replaced")
    pull()
    assert contents(folder) == changed
    assert not staging.folder.exists()


@pytest.mark.parametrize("place", [INFO, "config.json", "model.safetensors"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_asked_again(pull: Puller, hub: FakeHub, place: str, status: int) -> None:
    hub.fails(place, Refuse(status))
    assert contents(Path(pull().path)) == TINY
    assert any(f"answered with status {status}" in note for note in pull.notes())


def test_retry_after_is_honored_up_to_a_limit(pull: Puller, hub: FakeHub) -> None:
    hub.fails("config.json", Refuse(429, headers={"Retry-After": "86400"}))
    pull()
    assert "the hub answered with status 429; next try in 0 s" in pull.notes()  # 0.5, not a day


def test_an_unreachable_hub_is_reported_soon(pull: Puller, hub: FakeHub) -> None:
    hub.url = "http://127.0.0.1:9"
    with pytest.raises(HubUnreachable, match=r"127.0.0.1:9 cannot be reached \(tried 2 times\)"):
        pull()
