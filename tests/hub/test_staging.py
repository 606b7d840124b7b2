"""What is kept of a download until it is a model."""

import fcntl
import os
from pathlib import Path

import pytest

from mlxd.hub import staging
from mlxd.hub.reference import parse
from mlxd.hub.staging import Pending, PullRecord, RepoFile, Staging, unfinished

CONFIG = RepoFile("config.json", 2, "a" * 40)
TEMPLATE = RepoFile("additional_chat_templates/rag.jinja", 2, "a" * 40)
WEIGHTS = RepoFile("model.safetensors", 9, "b" * 64)


@pytest.fixture
def tiny(tmp_path: Path) -> Staging:
    """A download that has one complete file, and a part of another."""
    tiny = Staging(tmp_path, "acme/tiny")
    tiny.write(Pending(parse("acme/tiny")))
    tiny.part(CONFIG).write_bytes(b"{}")
    tiny.complete(CONFIG)
    tiny.part(WEIGHTS).write_bytes(b"12345")
    return tiny


def test_files_and_parts_count_as_present(tiny: Staging) -> None:
    assert [tiny.present_bytes(file) for file in (CONFIG, WEIGHTS)] == [2, 5]
    assert tiny.size_bytes() == 7


def test_files_of_other_revisions_are_removed(tiny: Staging) -> None:
    tiny.keep_only([WEIGHTS])
    assert [tiny.present_bytes(file) for file in (CONFIG, WEIGHTS)] == [0, 5]


def test_only_one_process_at_a_time_has_the_lock(tiny: Staging) -> None:
    descriptor = os.open(tiny.folder, os.O_RDONLY)
    try:
        with tiny.lock(), pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def test_unfinished_pulls_are_listed_by_name(tiny: Staging, tmp_path: Path) -> None:
    failed = Pending(parse("acme/large@v2"), "the disk is full")
    Staging(tmp_path, "acme/large").write(failed)
    Staging(tmp_path, "acme/broken").folder.mkdir()
    (Staging(tmp_path, "acme/broken").folder / "pull.json").write_text("{")
    assert unfinished(tmp_path) == [failed, Pending(parse("acme/tiny"))]
    tiny.remove()
    assert unfinished(tmp_path) == [failed]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_model_is_installed_on_any_file_system(
    tiny: Staging, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr(staging, "link", lambda existing, new: False)
    record = PullRecord("acme/tiny", "main", "c0ffee", [CONFIG, TEMPLATE])
    tiny.install(record)
    assert tiny.installed() == record
    assert (tiny.target / CONFIG.name).read_bytes() == b"{}"
    assert (tiny.target / TEMPLATE.name).read_bytes() == b"{}"
    assert not tiny.folder.exists()
