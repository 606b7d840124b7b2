"""One pull, from a hub that breaks off, lies, refuses, and from disks that are full."""

import os
import shutil
from pathlib import Path

import pytest

from mlxd.errors import HubUnreachable, PullFailed, PullRefused
from mlxd.hub.reference import parse
from mlxd.hub.staging import Pending, unfinished
from tests.fakes.hub import INFO, Break, FakeHub, Hold, NoRanges, Refuse, Wrong
from tests.hub.conftest import TINY, WEIGHTS, Puller, contents

SIZES = {name: len(content) for name, content in TINY.items()}


def test_a_model_is_whole_and_each_byte_came_once(pull: Puller, hub: FakeHub) -> None:
    done = pull()
    assert contents(Path(done.path)) == TINY
    assert done.path == str(pull.models_dir / "acme/tiny")
    assert done.commit == hub.repos["acme/tiny"].revisions["main"]
    assert done.bytes_fetched == done.size_bytes == sum(SIZES.values())
    assert dict(hub.sent) == SIZES
    assert os.listdir(pull.models_dir / ".pulls") == []
    assert pull.told[-1].bytes_done == pull.told[-1].bytes_total == done.size_bytes


def test_a_hub_that_tells_hashes_only_of_files_is_asked_for_them(
    pull: Puller, hub: FakeHub
) -> None:
    hub.repos["acme/tiny"].terse = True
    done = pull()
    assert contents(Path(done.path)) == TINY
    assert hub.sent == {name: len(content) for name, content in TINY.items()}


def test_only_what_a_model_needs_is_fetched(pull: Puller, hub: FakeHub) -> None:
    more = {"chat_template.jinja": b"{{ x }}", "additional_chat_templates/rag.jinja": b"{{ y }}"}
    needless = {
        "README.md": b"#",
        "model.gguf": b"GGUF",
        "pytorch_model.bin": b"PK",
        "modeling.py": b"import os",
        "original/model.safetensors": b"twice",
        "onnx/config.json": b"{}",
        ".hidden.json": b"{}",
        "consolidated.safetensors": b"twice",
    }
    hub.repos["acme/tiny"].commit({**TINY, **more, **needless})
    assert contents(Path(pull().path)) == {**TINY, **more}


def test_a_break_is_gone_on_from_at_the_very_byte(pull: Puller, hub: FakeHub) -> None:
    half = len(WEIGHTS) // 2
    hub.fails("model.safetensors", Break(half), Break(1), Break(0), Break(1))
    assert contents(Path(pull().path)) == TINY
    assert dict(hub.sent) == SIZES
    assert "the connection to the hub broke; the next try is in 0 s" in pull.notes()


def test_a_hub_that_falls_silent_is_left_and_asked_anew(pull: Puller, hub: FakeHub) -> None:
    hub.fails("model.safetensors", Hold(after=100_000))
    assert contents(Path(pull().path)) == TINY
    assert any("fallen silent" in note for note in pull.notes())
    assert hub.sent["model.safetensors"] == len(WEIGHTS)


@pytest.mark.parametrize("place", [INFO, "config.json", "model.safetensors"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_is_busy_is_asked_again(
    pull: Puller, hub: FakeHub, place: str, status: int
) -> None:
    hub.fails(place, Refuse(status))
    assert contents(Path(pull().path)) == TINY
    assert any(f"answers with {status}" in note for note in pull.notes())


def test_the_pause_that_the_hub_asks_for_is_kept_within_reason(pull: Puller, hub: FakeHub) -> None:
    hub.fails("config.json", Refuse(429, headers={"Retry-After": "86400"}))
    pull()
    assert "the hub answers with 429; the next try is in 0 s" in pull.notes()  # 0.5, not a day


def test_a_hub_without_ranges_sends_all_of_it_again(pull: Puller, hub: FakeHub) -> None:
    hub.fails("model.safetensors", Break(100_000), NoRanges())
    assert contents(Path(pull().path)) == TINY
    assert pull.told[-1].bytes_done == sum(SIZES.values())


def test_what_has_come_waits_for_the_next_pull(pull: Puller, hub: FakeHub) -> None:
    half = len(WEIGHTS) // 2
    hub.fails("model.safetensors", Break(half), *[Refuse(503)] * 4)
    with pytest.raises(HubUnreachable, match="answers with 503, also after 4 tries"):
        pull()
    assert not (pull.models_dir / "acme").exists()
    assert [str(pending.reference) for pending in unfinished(pull.models_dir)] == ["acme/tiny"]

    done = pull()
    assert contents(Path(done.path)) == TINY
    assert done.bytes_fetched == len(WEIGHTS) - half
    assert dict(hub.sent) == SIZES


def test_where_nobody_answers_it_soon_says_so(pull: Puller, hub: FakeHub) -> None:
    hub.url = "http://127.0.0.1:9"
    with pytest.raises(HubUnreachable, match=r"127.0.0.1:9 cannot be reached, also after 2 tries"):
        pull()


def test_wrong_bytes_are_thrown_away_and_fetched_once_more(pull: Puller, hub: FakeHub) -> None:
    hub.fails("model.safetensors", Wrong())
    hub.fails("tokenizer.json", Wrong())
    assert contents(Path(pull().path)) == TINY
    assert pull.told[-1].bytes_done == pull.told[-1].bytes_total


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_bytes_that_stay_wrong_make_no_model(pull: Puller, hub: FakeHub, name: str) -> None:
    hub.fails(name, Wrong(), Wrong())
    with pytest.raises(PullFailed, match=f"{name} of acme/tiny came with a wrong hash, twice"):
        pull()
    assert not (pull.models_dir / "acme").exists()
    assert contents(Path(pull().path)) == TINY


def test_a_part_that_was_damaged_here_is_found_out(pull: Puller, hub: FakeHub) -> None:
    hub.fails("model.safetensors", Break(1000), *[Refuse(503)] * 4)
    with pytest.raises(HubUnreachable):
        pull()
    (part,) = (pull.models_dir / ".pulls/acme--tiny").glob("*.part")
    part.write_bytes(b"?" * 1000)
    assert contents(Path(pull().path)) == TINY


def test_a_model_that_is_there_is_up_to_date(pull: Puller, hub: FakeHub) -> None:
    pull()
    hub.sent.clear()
    again = pull()
    assert again.up_to_date
    assert not hub.sent
    assert os.listdir(pull.models_dir / ".pulls") == []


def test_a_file_that_was_lost_is_fetched_again(pull: Puller, hub: FakeHub) -> None:
    folder = Path(pull().path)
    (folder / "tokenizer.json").unlink()
    hub.sent.clear()
    assert not pull().up_to_date
    assert contents(folder) == TINY
    assert set(hub.sent) == {"tokenizer.json"}


def test_a_new_commit_fetches_what_has_changed(pull: Puller, hub: FakeHub) -> None:
    folder = Path(pull().path)
    with (folder / "model.safetensors").open("rb") as in_use:
        changed = {**TINY, "tokenizer.json": b'{"new": 1}', "vocab.txt": b"a"}
        hub.repos["acme/tiny"].commit(changed)
        hub.sent.clear()
        assert pull().bytes_fetched == len(b'{"new": 1}') + 1
        assert contents(folder) == changed
        assert set(hub.sent) == {"tokenizer.json", "vocab.txt"}
        assert in_use.read() == WEIGHTS


def test_a_file_that_was_changed_here_is_not_taken_over(pull: Puller, hub: FakeHub) -> None:
    folder = Path(pull().path)
    (folder / "model.safetensors").write_bytes(b"?" * len(WEIGHTS))
    hub.repos["acme/tiny"].commit({**TINY, "vocab.txt": b"a"})
    pull()
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_what_came_of_an_older_commit_is_used_where_it_is_the_same(
    pull: Puller, hub: FakeHub
) -> None:
    hub.fails("model.safetensors", Break(1000), *[Refuse(503)] * 4)
    with pytest.raises(HubUnreachable):
        pull()
    hub.repos["acme/tiny"].commit({**TINY, "tokenizer.json": b'{"new": 1}'})
    pull()
    assert hub.sent["model.safetensors"] == len(WEIGHTS)
    assert hub.sent["config.json"] == SIZES["config.json"]


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


def test_what_is_not_on_the_hub_is_refused(pull: Puller, hub: FakeHub) -> None:
    with pytest.raises(PullRefused, match=r"no model acme/none on http.*private.*hf auth login"):
        pull("acme/none")
    hub.fails(INFO, Refuse(401))
    with pytest.raises(PullRefused, match=r"no model acme/none on .*, or it is private"):
        pull("acme/none")
    hub.repos["acme/texts"].kind = "datasets"
    hub.repos["acme/texts"].commit({"a.txt": b""})
    with pytest.raises(PullRefused, match="acme/texts is a dataset, not a model"):
        pull("acme/texts")
    hub.repos["acme/old"].called = "acme/new"
    hub.repos["acme/old"].commit(TINY)
    with pytest.raises(PullRefused, match="is called acme/new on the hub: mlxctl pull acme/new"):
        pull("acme/old")


def test_a_gated_model_wants_its_licence_accepted(pull: Puller, hub: FakeHub) -> None:
    hub.repos["acme/tiny"].gated = True
    with pytest.raises(PullRefused, match=f"gated: accept its licence on {hub.url}/acme/tiny"):
        pull()


def test_a_token_opens_what_is_private_and_stays_on_the_hub(
    pull: Puller, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "hf_right"
    with pytest.raises(PullRefused, match="or it is private: log in with `hf auth login`"):
        pull()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(PullRefused, match="does not let us have acme/tiny") as refused:
        pull()
    assert "hf_wrong" not in str(refused.value)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert contents(Path(pull().path)) == TINY
    assert hub.leaked == []


def test_what_answers_and_is_no_hub(pull: Puller, hub: FakeHub) -> None:
    hub.url += "/acme/tiny/resolve/main/config.json?"
    with pytest.raises(PullFailed, match="is no model hub"):
        pull()


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, "it is empty"),
        ({"a.Q4_K_M.gguf": b""}, "it has GGUF files: download one .*`mlxctl import"),
        ({"config.json": b"{}", "pytorch_model.bin": b""}, "it has PyTorch weights"),
        ({"config.json": b"{}", "onnx/model.onnx": b""}, "it has ONNX weights"),
        ({"A.mlpackage/Data/weights.mil": b""}, "it has Core ML weights"),
        ({"model_index.json": b"{}", "vae/model.safetensors": b""}, "a pipeline"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b""}, "an adapter"),
        ({"config.json": b"{}", "weights.safetensors": b""}, r"none called model\*.safetensors"),
        ({"model.safetensors": b""}, "it has no config.json"),
        ({"config.json": b"{}", "README.md": b""}, "it has no weights"),
    ],
)
def test_what_is_no_mlx_model_is_refused_with_what_it_is(
    pull: Puller, hub: FakeHub, files: dict[str, bytes], what: str
) -> None:
    hub.repos["acme/other"].commit(files)
    with pytest.raises(PullRefused, match=f"acme/other is not an MLX model: .*{what}"):
        pull("acme/other")
    assert not hub.sent


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (b'{"model_type": "hal9000"}', "mlx-lm has no architecture 'hal9000'"),
        (b"{}", "its config.json has no model_type"),
        (b"[]", "its config.json is no JSON object"),
        (b'{"model_type": "llama", "model_file": "m.py"}', r"Python code of its own \(m.py\)"),
        (
            b'{"model_type": "llama", "quantization_config": {"quant_method": "bitsandbytes"}}',
            "is quantised by bitsandbytes",
        ),
    ],
)
def test_what_mlx_lm_cannot_run_is_refused_by_its_config(
    pull: Puller, hub: FakeHub, config: bytes, why: str
) -> None:
    hub.repos["acme/other"].commit({**TINY, "config.json": config})
    with pytest.raises(PullRefused, match=f"acme/other .*{why}"):
        pull("acme/other")
    assert set(hub.sent) == {"config.json"}


def test_a_model_without_a_tokenizer_is_refused(pull: Puller, hub: FakeHub) -> None:
    hub.repos["acme/other"].commit({name: TINY[name] for name in list(TINY)[:2]})
    with pytest.raises(PullRefused, match="no tokenizer"):
        pull("acme/other")


def test_what_cannot_fit_in_memory_is_refused_with_the_arithmetic(
    pull: Puller, hub: FakeHub
) -> None:
    limit = len(WEIGHTS)
    with pytest.raises(PullRefused, match=r"4.0 MB for its weights alone.*memory_limit is 3.9 MB"):
        pull(memory_limit=limit - 100_000)
    assert not hub.sent
    pull(memory_limit=limit)

    config = b"""{"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 4,
        "head_dim": 16, "max_position_embeddings": 1000}"""
    hub.repos["acme/other"].commit({**TINY, "config.json": config})
    hub.sent.clear()
    need = r"it needs 4.5 MB \(weights 4.0 MB, cache 512 kB\), and .* is 4.4 MB"
    with pytest.raises(PullRefused, match=need):
        pull("acme/other", memory_limit=limit + 400_000)
    assert set(hub.sent) == {"config.json"}


def test_what_cannot_fit_on_disk_is_refused_with_the_arithmetic(pull: Puller, hub: FakeHub) -> None:
    hub.repos["acme/tiny"].sizes["tokenizer.json"] = 10**18
    with pytest.raises(PullFailed, match=r"1000000 TB are to come, 1.0 GB should stay free, and /"):
        pull()
    assert not hub.sent


def test_what_is_here_already_needs_no_room(
    pull: Puller, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fails("model.safetensors", Break(len(WEIGHTS) - 10), *[Refuse(503)] * 4)
    with pytest.raises(HubUnreachable):
        pull()
    usage = shutil.disk_usage(pull.models_dir)._replace(free=10**9 + 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert contents(Path(pull().path)) == TINY


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
def test_a_disk_that_is_full_keeps_what_has_come(pull: Puller, hub: FakeHub) -> None:
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
    with pytest.raises(PullFailed, match="acme/tiny is there already and was not pulled"):
        pull()
    assert contents(mine) == {"config.json": b"mine"}
    (mine.parent / "config.json").write_text("mine")
    with pytest.raises(PullFailed, match="acme is a model itself"):
        pull("acme/other")


def test_a_replacement_that_was_killed_half_way_is_finished(pull: Puller, hub: FakeHub) -> None:
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
