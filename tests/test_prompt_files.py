"""The files of the prompt cache: their names, and which are removed."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from mlxd import prompt_files
from mlxd.prompt_files import FolderInfo, NodeFile, Survey

ONE, OTHER = "1" * 32, "2" * 32


def add(root: Path, name: str, parent: str = "", *, used: int, folder: str = ONE) -> Path:
    """Make the file of a node, 100 bytes, last used at the second `used`."""
    keys = [hashlib.sha256(each.encode()).digest() if each else b"" for each in (name, parent)]
    file = root / folder / NodeFile(*keys, 3).name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bytes(100))
    os.utime(file, (used, used))
    return file


def left(*files: Path) -> list[bool]:
    return [file.exists() for file in files]


def test_a_name_says_which_node_a_file_holds() -> None:
    child = NodeFile(b"\x0a" * 32, b"\x0b" * 32, 256)
    assert child.name == f"{'0a' * 32}-{'0b' * 32}-256.kv"
    assert NodeFile.parse(child.name) == child
    first = NodeFile(b"\x0a" * 32, b"", 1)
    assert NodeFile.parse(first.name) == first


@pytest.mark.parametrize(
    "name", ["model.json", ".new-1-2", f"{'0a' * 32}-1.kv", f"{'0A' * 32}--1.kv", "0a-0b-1.kv"]
)
def test_other_files_are_not_nodes(name: str) -> None:
    assert NodeFile.parse(name) is None


def test_the_longest_unused_is_removed_first_in_all_folders(tmp_path: Path) -> None:
    a, b = add(tmp_path, "a", used=1), add(tmp_path, "b", used=3)
    c = add(tmp_path, "c", used=2, folder=OTHER)
    survey = Survey(tmp_path)
    assert survey.total == 300
    survey.trim(300)
    assert left(a, b, c) == [True, True, True]
    survey.trim(299)
    assert left(a, b, c) == [False, True, True]
    assert (survey.total, len(survey.nodes(a.parent))) == (200, 1)
    survey.trim(100)
    assert left(a, b, c) == [False, True, False]
    assert prompt_files.folders(tmp_path) == [tmp_path / ONE]


def test_a_parent_is_removed_after_its_children(tmp_path: Path) -> None:
    a, b = add(tmp_path, "a", used=1), add(tmp_path, "b", "a", used=1)
    c, d = add(tmp_path, "c", "b", used=5), add(tmp_path, "d", "b", used=2)
    other = add(tmp_path, "e", used=4)
    survey = Survey(tmp_path)
    for expected in (
        [True, True, True, False, True],
        [True, True, True, False, False],
        [True, True, False, False, False],
        [True, False, False, False, False],
        [False, False, False, False, False],
    ):
        survey.trim(survey.total - 1)
        assert left(a, b, c, d, other) == expected


def test_files_that_nothing_leads_to_are_removed(tmp_path: Path) -> None:
    kept = [add(tmp_path, "a", used=9), add(tmp_path, "b", "a", used=9)]
    orphans = [add(tmp_path, "x", "gone", used=9), add(tmp_path, "y", "x", used=9)]
    orphans += [add(tmp_path, "p", "q", used=9), add(tmp_path, "q", "p", used=9)]
    half = [tmp_path / ONE / ".new-1", tmp_path / ONE / ".new-2"]
    for file in half:
        file.write_bytes(bytes(10))
    os.utime(half[0], (time.time() - 3600,) * 2)
    (tmp_path / ".removed-1").mkdir()
    survey = Survey(tmp_path)
    assert survey.total == 210  # one file may still be being written
    assert left(*kept) == [True, True]
    assert not any(left(*orphans, half[0], tmp_path / ".removed-1"))
    assert left(half[1]) == [True]


def test_two_files_of_one_key_count_as_one(tmp_path: Path) -> None:
    """A copy under another name must not lead back to itself."""
    file = add(tmp_path, "a", used=1)
    copy = add(tmp_path, "a", "a", used=2)
    Survey(tmp_path).trim(0)
    assert left(file, copy) == [False, False]


def test_what_is_not_of_the_cache_stays(tmp_path: Path) -> None:
    (tmp_path / ONE).mkdir()
    mine = [tmp_path / "notes.txt", tmp_path / ONE / "notes.txt", tmp_path / "3" / "x.kv"]
    mine[2].parent.mkdir()
    for file in mine:
        file.touch()
    survey = Survey(tmp_path)
    survey.trim(-1)
    assert left(*mine) == [True] * 3
    assert survey.total == 0


def test_a_folder_says_whose_it_is(tmp_path: Path) -> None:
    assert prompt_files.read_info(tmp_path) is None
    (tmp_path / "model.json").write_text("nonsense")
    assert prompt_files.read_info(tmp_path) is None
    (tmp_path / "model.json").write_text('{"model": "owner/a", "adapter": "pirate"}')
    assert prompt_files.read_info(tmp_path) == FolderInfo("owner/a", "pirate")


def test_a_folder_is_removed_as_a_whole(tmp_path: Path) -> None:
    file = add(tmp_path, "a", used=1)
    prompt_files.remove(file.parent)
    prompt_files.remove(file.parent)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    assert prompt_files.folders(tmp_path / "none") == []
    assert prompt_files.node_files(tmp_path / "none") == []
    assert Survey(tmp_path / "none").total == 0
