"""What the hub says about a repository, its refusals, and files whose connection breaks."""

from pathlib import Path

import pytest

from mlxd.errors import PullFailed, PullRefused
from tests.fakes.hub import INFO, Break, FakeHub, Hold, NoRanges, Refuse
from tests.hub.conftest import TINY, WEIGHTS, Puller, contents

SIZES = {name: len(content) for name, content in TINY.items()}


def test_a_mirror_that_lists_no_hashes_is_asked_for_each_file(pull: Puller, hub: FakeHub) -> None:
    hub.repos["acme/tiny"].terse = True
    done = pull()
    assert contents(Path(done.path)) == TINY
    assert hub.sent == {name: len(content) for name, content in TINY.items()}


def test_a_revision_is_a_branch_a_tag_or_a_commit(pull: Puller, hub: FakeHub) -> None:
    repo = hub.repos["acme/tiny"]
    first = repo.revisions["main"]
    other = repo.commit({**TINY, "vocab.txt": b"4-bit"}, revision="refs/pr/1")
    assert pull("acme/tiny@refs/pr/1").commit == other
    assert pull(f"acme/tiny@{first}").commit == first
    with pytest.raises(PullRefused, match="acme/tiny has no revision 'v9'"):
        pull("acme/tiny@v9")


def test_a_repository_may_have_no_owner(pull: Puller, hub: FakeHub) -> None:
    hub.repos["gpt9"].commit(TINY)
    assert pull("gpt9").path == str(pull.models_dir / "gpt9")


def test_a_repository_that_is_not_a_model_of_the_hub_is_refused(pull: Puller, hub: FakeHub) -> None:
    with pytest.raises(PullRefused, match=r"no model acme/none on http.*private.*hf auth login"):
        pull("acme/none")
    hub.repos["acme/texts"].kind = "datasets"
    hub.repos["acme/texts"].commit({"a.txt": b""})
    with pytest.raises(PullRefused, match="no model acme/texts on"):
        pull("acme/texts")
    hub.fails(INFO, Refuse(403))
    with pytest.raises(PullRefused, match=r"access to acme/tiny was denied \(403\): log in with"):
        pull()
    hub.repos["acme/old"].called = "acme/new"
    hub.repos["acme/old"].commit(TINY)
    with pytest.raises(PullRefused, match=r"is now acme/new\. Run: mlxctl pull acme/new"):
        pull("acme/old")


def test_a_gated_model_needs_its_license_accepted(pull: Puller, hub: FakeHub) -> None:
    hub.repos["acme/tiny"].gated = True
    with pytest.raises(PullRefused, match=f"gated: accept its license on {hub.url}/acme/tiny"):
        pull()


def test_a_private_model_needs_a_token_which_only_the_hub_gets(
    pull: Puller, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "hf_right"
    with pytest.raises(PullRefused, match="or it is private: log in with `hf auth login`"):
        pull()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(PullRefused, match="access to acme/tiny was denied") as refused:
        pull()
    assert "hf_wrong" not in str(refused.value)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert contents(Path(pull().path)) == TINY
    assert hub.leaked == []


def test_a_server_that_is_not_a_hub_is_reported(pull: Puller, hub: FakeHub) -> None:
    hub.url += "/acme/tiny/resolve/main/config.json?"
    with pytest.raises(PullFailed, match="is not a model hub"):
        pull()


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
