"""What is kept of a download until it is a model."""

import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest

from mlxd.hub.reference import parse
from mlxd.hub.staging import Pending, RepoFile, Snapshot, Staging, unfinished
from tests.support.daemon_process import DEADLINE

BLOB = hashlib.sha1(b"blob 2\0{}").hexdigest()
CONFIG = RepoFile("config.json", 2, BLOB)
TEMPLATE = RepoFile("additional_chat_templates/rag.jinja", 2, BLOB)
WEIGHTS = RepoFile("model.safetensors", 9, "b" * 64)


@pytest.fixture
def tiny(tmp_path: Path) -> Staging:
    """A download that has one complete file, and a part of another."""
    tiny = Staging(tmp_path, "acme/tiny")
    tiny.write(Pending(parse("acme/tiny")))
    tiny.part(CONFIG).write_bytes(b"{}")
    assert tiny.complete(CONFIG)
    tiny.part(WEIGHTS).write_bytes(b"12345")
    return tiny


def test_files_and_parts_count_as_present(tiny: Staging) -> None:
    assert [tiny.present_bytes(file) for file in (CONFIG, WEIGHTS)] == [2, 5]
    assert tiny.size_bytes() == 7


@pytest.mark.parametrize("content", [b"12345", b"1234567890", b"123456780"])
def test_a_part_with_a_wrong_hash_is_removed(tiny: Staging, content: bytes) -> None:
    file = RepoFile("model.safetensors", 9, hashlib.sha256(b"123456789").hexdigest())
    tiny.part(file).write_bytes(content)
    assert not tiny.complete(file)
    assert tiny.present_bytes(file) == 0
    tiny.part(file).write_bytes(b"123456789")
    assert tiny.complete(file)
    assert tiny.complete_file(file).read_bytes() == b"123456789"


def test_a_second_download_waits_for_the_first(tiny: Staging) -> None:
    waiting, held = threading.Event(), threading.Event()

    def second() -> None:
        with Staging(tiny.folder.parent.parent, "acme/tiny").held(waiting.set):
            held.set()

    thread = threading.Thread(target=second)
    with tiny.held(pytest.fail):
        thread.start()
        assert waiting.wait(DEADLINE)
        assert not held.is_set()
        tiny.remove()  # as a download does at its end
    thread.join(DEADLINE)
    assert held.is_set()
    assert tiny.folder.is_dir()


def test_files_of_other_revisions_are_removed(tiny: Staging) -> None:
    tiny.keep_only([WEIGHTS])
    assert [tiny.present_bytes(file) for file in (CONFIG, WEIGHTS)] == [0, 5]


def test_unfinished_pulls_are_listed_by_name(tiny: Staging, tmp_path: Path) -> None:
    failed = Pending(parse("acme/large@v2"), "the disk is full")
    Staging(tmp_path, "acme/large").write(failed)
    Staging(tmp_path, "acme/broken").folder.mkdir()
    (Staging(tmp_path, "acme/broken").folder / "pull.json").write_text("{")
    assert unfinished(tmp_path) == [failed, Pending(parse("acme/tiny"))]
    tiny.remove()
    assert unfinished(tmp_path) == [failed]


def no_links(existing: Path, new: Path) -> None:
    raise OSError(errno.ENOTSUP, "Operation not supported")


@pytest.mark.parametrize("has_links", [True, False])
def test_a_model_is_installed_on_any_file_system(
    tiny: Staging, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", no_links)
    record = Snapshot("acme/tiny", "main", "c0ffee", [CONFIG, TEMPLATE])
    tiny.install(record)
    assert tiny.installed() == record
    assert (tiny.target / CONFIG.name).read_bytes() == b"{}"
    assert (tiny.target / TEMPLATE.name).read_bytes() == b"{}"
    assert not tiny.folder.exists()
