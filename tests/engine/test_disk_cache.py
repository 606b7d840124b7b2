"""The prompt cache on disk: found again by the next engine, bounded, and never wrong."""

import errno
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlxd.engine import disk_cache
from mlxd.engine.disk_cache import DiskCache
from mlxd.engine.node_file import StoredNode
from mlxd.prompt_files import FolderInfo, Survey, read_info
from tests.support.prompt_nodes import FINGERPRINT, chain, node

OTHER = "f" * 32
DEADLINE = 30.0

Open = Callable[..., DiskCache]
DiskUsage = namedtuple("DiskUsage", "total used free")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "prompts"


@pytest.fixture
def folder(root: Path) -> Path:
    return root / FINGERPRINT


@pytest.fixture
def open_cache(root: Path) -> Iterator[Open]:
    """Open the cache as another engine would."""
    opened = []

    def open_cache(fingerprint: str = FINGERPRINT, max_bytes: int = 10**9, **options) -> DiskCache:
        cache = DiskCache(root, fingerprint, max_bytes, FolderInfo("owner/tiny"), **options)
        opened.append(cache)
        return cache

    yield open_cache
    for cache in opened:
        cache.close(DEADLINE)


def written(cache: DiskCache, *nodes: StoredNode) -> list[bool]:
    """Write nodes, each of them at once, and return which are on disk."""
    done = []
    for each in nodes:
        cache.write(each)
        assert cache.flush(DEADLINE)
        done.append(each.key in cache)
    return done


def age(folder: Path, each: StoredNode, seconds: float) -> None:
    file = folder / each.file.name
    os.utime(file, (0, file.stat().st_mtime - seconds))


def test_the_next_engine_finds_what_was_written(open_cache: Open) -> None:
    a, b, c = chain([1, 2], [3, 4], [5])
    other = node([9], b)
    cache = open_cache()
    assert a.key not in cache
    assert [cache.write(each) for each in (a, b, c, other)] == [True] * 4
    assert {each.key for each in cache.children(b.key)} == {c.key, other.key}
    cache.close(DEADLINE)

    found = open_cache()
    assert len(found) == 4
    assert [found.read(each.key) for each in (a, b, c, other)] == [a, b, c, other]
    assert found.children(b"") == [a.file]
    assert {each.length for each in found.children(b.key)} == {1}
    assert found.read(b"unknown") is None


def test_the_files_are_their_owners_alone(open_cache: Open, root: Path, folder: Path) -> None:
    before = os.umask(0)
    written(open_cache(), *chain([1], [2]))
    os.umask(before)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    folders = {stat.S_IMODE(each.stat().st_mode) for each in (root, folder)}
    assert (modes, folders) == ({0o600}, {0o700})
    assert read_info(folder) == FolderInfo("owner/tiny")


def test_what_waits_to_be_written_can_be_read(
    open_cache: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, encode = threading.Event(), disk_cache.encode

    def slow(*arguments):
        assert go_on.wait(DEADLINE)
        return encode(*arguments)

    monkeypatch.setattr(disk_cache, "encode", slow)
    a, b, c = chain([1], [2], [3])
    cache = open_cache(queue_bytes=2 * a.nbytes)
    assert [cache.write(each) for each in (a, b, c)] == [True, True, False]  # the queue is full
    assert cache.read(b.key) is b
    assert not cache.flush(0)
    go_on.set()
    assert cache.flush(DEADLINE)
    assert written(cache, c) == [True]


def test_what_is_written_while_files_are_counted_is_not_forgotten(
    open_cache: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting, go_on = threading.Event(), threading.Event()

    def slow(root: Path) -> Survey:
        survey = Survey(root)
        counting.set()
        assert go_on.wait(DEADLINE)
        return survey

    monkeypatch.setattr(disk_cache, "Survey", slow)
    a, b, c = chain([1], [2], [3])
    cache = open_cache()
    assert cache.write(a)
    assert counting.wait(DEADLINE)
    assert cache.write(b)
    go_on.set()
    assert cache.flush(DEADLINE)
    assert written(cache, c) == [True]
    assert [cache.read(each.key) for each in (a, b, c)] == [a, b, c]


def test_a_node_is_written_in_place_of_the_one_before(open_cache: Open, folder: Path) -> None:
    a = node([1])
    larger = StoredNode(a.key, b"", a.tokens, 0, node([1], size=500).tensors, '{"checkpoint": 1}')
    cache = open_cache()
    written(cache, a, larger)
    assert cache.read(a.key) == larger
    assert len(list(folder.glob("*.kv"))) == 1


def test_a_shorter_node_goes_once_the_longer_one_is_written(open_cache: Open, folder: Path) -> None:
    a, short = chain([1], [2, 3])
    longer = node([2, 3, 4], a)
    cache = open_cache()
    written(cache, a, short)
    cache.remove(short.key)
    assert cache.read(short.key) == short
    written(cache, longer)
    assert cache.children(a.key) == [longer.file]
    assert {file.name for file in folder.glob("*.kv")} == {a.file.name, longer.file.name}


def test_a_node_without_its_parent_is_not_written(open_cache: Open) -> None:
    a, b = chain([1], [2])
    cache = open_cache()
    assert not cache.write(b)
    assert written(cache, a, b) == [True, True]


def test_an_engine_that_was_killed_leaves_whole_files(open_cache: Open, folder: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from mlxd.engine.disk_cache import DiskCache
from mlxd.prompt_files import FolderInfo
from tests.support.prompt_nodes import node
cache = DiskCache(Path({str(folder.parent)!r}), {FINGERPRINT!r}, 10**9, FolderInfo("m"))
last = None
for number in range(10**6):
    last = node([number], last, size=100_000)
    cache.write(last)
    if number == 5:
        cache.flush(60)
        print("go", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as engine:
        assert engine.stdout.readline() == b"go\n"
        engine.kill()
    (folder / ".new-1-2").write_bytes(b"half")
    cache = open_cache()
    assert len(cache) == len(list(folder.glob("*.kv"))) > 5
    last, found = None, 0
    while children := cache.children(last.key if last else b""):
        assert cache.read(children[0].key) == node([found], last, size=100_000)
        last, found = node([found], last, size=100_000), found + 1
    assert found == len(cache)
    assert not list(folder.glob(".new-*"))


def ancestors(each: StoredNode, nodes: list[StoredNode]) -> Iterator[bytes]:
    parents = {other.key: other.parent for other in nodes}
    key = each.parent
    while key:
        yield key
        key = parents[key]


CHANGES = ("flip", "zero", "truncate", "append", "swap", "empty", "replace", "foreign", "stale")


def corrupt(change: str, file: Path, others: list[Path], foreign: Path, chance: random.Random):
    """Damage a file in one way, which names only what it does to the content."""
    content = bytearray(file.read_bytes())
    place = chance.randrange(len(content))
    match change:
        case "flip":
            content[place] ^= 1 << chance.randrange(8)
        case "zero":  # as a file system may do after a loss of power
            end = min(len(content), place + 4096)
            if not any(content[place:end]):
                content[place] ^= 1
            content[place:end] = bytes(end - place)
        case "truncate":
            del content[place:]
        case "append":
            content += chance.randbytes(chance.randrange(1, 100))
        case "swap":
            other = chance.choice(others)
            swapped = other.read_bytes()
            other.write_bytes(content)
            content = swapped
        case "empty":
            content.clear()
        case "replace":
            content = chance.choice(others).read_bytes()
        case "foreign":
            content = (foreign / file.name).read_bytes()
        case "stale":
            content = content.replace(b"mlxd-prompt-1", b"mlxd-prompt-0")
    file.write_bytes(content)


def test_of_200_damaged_files_none_is_served_and_each_is_logged(
    open_cache: Open, root: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(14)
    nodes = chain(*([number, number + 1] for number in range(8)))
    nodes += [node([50 + number], nodes[3]) for number in range(4)]
    foreign = open_cache(OTHER)
    written(foreign, *nodes)
    cache = open_cache()
    for number in range(200):
        written(cache, *(each for each in nodes if each.key not in cache))
        cache.close(DEADLINE)
        victim = chance.choice(nodes)
        change = CHANGES[number % len(CHANGES)]
        before = {each.key: (folder / each.file.name).read_bytes() for each in nodes}
        others = [folder / each.file.name for each in nodes if each is not victim]
        corrupt(change, folder / victim.file.name, others, root / OTHER, chance)
        damaged = {
            each.key for each in nodes if (folder / each.file.name).read_bytes() != before[each.key]
        }
        assert victim.key in damaged
        # What follows a damaged node goes with it.
        alone = {
            each.key
            for each in nodes
            if each.key in damaged and not damaged & set(ancestors(each, nodes))
        }

        cache = open_cache()
        for each in nodes:
            found = cache.read(each.key)
            assert found in (each, None)
            if each.key in damaged:
                assert found is None, change
                assert not (folder / each.file.name).exists()
        logged = capsys.readouterr().err.splitlines()
        assert len(logged) == len(alone), (change, logged)
        assert all(line.startswith(f"prompt cache: {FINGERPRINT[:8]}/") for line in logged)
        assert {each.key for each in nodes if each.key in cache} == {
            each.key for each in nodes if (folder / each.file.name).exists()
        }
    assert all(foreign.read(each.key) == each for each in nodes)


def test_a_link_is_not_followed(
    open_cache: Open, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = node([1])
    written(open_cache(), a)
    (folder / a.file.name).rename(folder / "elsewhere")
    (folder / a.file.name).symlink_to("elsewhere")
    assert open_cache().read(a.key) is None
    assert "cannot be read and is dropped" in capsys.readouterr().err


def test_what_follows_a_missing_file_is_not_served(open_cache: Open, folder: Path) -> None:
    a, b, c = chain([1], [2], [3])
    running = open_cache()
    written(running, a, b, c)
    (folder / b.file.name).unlink()
    assert [each.key in open_cache() for each in (a, b, c)] == [True, False, False]
    assert running.read(b.key) is None
    assert c.key not in running
    assert not (folder / c.file.name).exists()


def test_the_longest_unused_goes_first_across_models(open_cache: Open, root: Path) -> None:
    one, other = open_cache(OTHER, max_bytes=14_000), open_cache(max_bytes=14_000)
    nodes = [node([number], size=1000) for number in range(4)]
    written(one, nodes[0], nodes[1])
    written(other, nodes[2], nodes[3])
    for folder, each, seconds in [
        (root / OTHER, nodes[0], 400),
        (root / OTHER, nodes[1], 200),
        (root / FINGERPRINT, nodes[2], 300),
        (root / FINGERPRINT, nodes[3], 100),
    ]:
        age(folder, each, seconds)
    one.touch(nodes[0].key)
    order = [nodes[number].file.name for number in (2, 1, 3, 0)]
    for number in range(10, 14):
        written(one, node([number], size=1000))
        there = {file.name for file in root.glob("*/*.kv")}
        gone = [name not in there for name in order]
        assert gone == sorted(gone, reverse=True)
    assert gone[:2] == [True, True]
    assert other.read(nodes[2].key) is None


def test_an_empty_folder_is_removed(open_cache: Open, root: Path) -> None:
    written(open_cache(OTHER), node([0], size=1000))
    age(root / OTHER, node([0], size=1000), 100)
    written(open_cache(max_bytes=14_000), *(node([number], size=1000) for number in range(1, 6)))
    assert not (root / OTHER).exists()


def test_a_node_goes_before_its_parent(open_cache: Open, folder: Path) -> None:
    nodes = chain([1], [2], [3], size=1000)
    cache = open_cache(max_bytes=14_000)
    written(cache, *nodes)
    for each, seconds in zip(nodes, (300, 200, 100), strict=True):
        age(folder, each, seconds)
    kept = []
    for number in range(10, 14):
        written(cache, node([number], size=1000))
        kept.append(sum(each.key in cache for each in nodes))
        assert [each.key in cache for each in nodes[: kept[-1]]] == [True] * kept[-1]
    assert kept[0] == 3
    assert kept[-1] < 3
    assert len(cache) == len(list(folder.glob("*.kv")))


def test_a_smaller_limit_holds_from_the_next_write(open_cache: Open, root: Path) -> None:
    written(open_cache(), *(node([number], size=1000) for number in range(10)))
    assert Survey(root).total > 20_000
    last = node([99], size=1000)
    assert written(open_cache(max_bytes=14_000), last) == [True]
    assert Survey(root).total <= 14_000
    assert not open_cache(max_bytes=14_000).write(node([1], size=2000))  # over a quarter


def test_two_engines_stay_within_the_limit(open_cache: Open, root: Path) -> None:
    engines = [open_cache(max_bytes=200_000), open_cache(OTHER, max_bytes=200_000)]
    highest = 0
    for number in range(150):
        written(engines[number % 2], node([number], size=1000))
        highest = max(highest, Survey(root).total)
    assert 150_000 < highest <= 200_000


def test_a_nearly_full_disk_gets_space_back(
    open_cache: Open,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    total = 1_000_000
    others = 100_000

    def usage(_folder: Path) -> DiskUsage:
        used = others + sum(file.stat().st_size for file in root.glob("*/*.kv"))
        return DiskUsage(total, used, total - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    cache = open_cache(max_bytes=400_000, keep_free=10**9)
    written(cache, *(node([number], size=5000) for number in range(30)))
    assert Survey(root).total > 300_000
    others = 800_000
    assert written(cache, node([99], size=5000)) == [True]
    assert usage(root).free >= 0.05 * total
    assert capsys.readouterr().err == ""
    others = 960_000
    assert not any(written(cache, node([100], size=5000), node([101], size=5000)))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("prompt cache: writes to disk pause: there is no room for ")


def test_writing_stops_and_begins_again_with_one_line(
    open_cache: Open,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    a, b, c = chain([1], [2], [3])
    cache = open_cache()
    written(cache, a)
    monkeypatch.setattr(disk_cache, "_PAUSE_SECONDS", 0.0)

    def full(*_arguments: object, **_options: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(disk_cache.os, "open", full)
        assert written(cache, b, b, a) == [False, False, True]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"prompt cache: writes to disk pause: No space left on device ({folder.parent})"
    assert written(cache, b, c) == [True, True]
    assert cache.read(a.key) == a
    assert not list(folder.glob(".new-*"))


def test_a_folder_that_cannot_be_is_one_line(
    open_cache: Open, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root.parent.mkdir()
    root.write_text("a file")
    cache = open_cache()
    assert written(cache, node([1])) == [False]
    assert not cache.write(node([2]))  # it pauses
    assert cache.read(node([1]).key) is None
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("gone", ["folder", "root", "files"])
def test_the_cache_may_be_deleted_at_any_time(
    open_cache: Open, root: Path, folder: Path, gone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, c = chain([1], [2], [3])
    cache = open_cache()
    written(cache, a, b)
    if gone == "files":
        for file in folder.iterdir():
            file.unlink()
    else:
        shutil.rmtree(folder if gone == "folder" else root)
    assert written(cache, c) == [False]
    assert b.key not in cache
    assert cache.read(a.key) is None
    assert written(cache, a, b, c) == [True, True, True]
    assert [open_cache().read(each.key) for each in (a, b, c)] == [a, b, c]
    assert capsys.readouterr().err == ""


def test_readers_and_a_writer_at_the_same_time(open_cache: Open, root: Path) -> None:
    nodes = [node([number], size=200) for number in range(40)]
    cache = open_cache(max_bytes=30_000)
    wrong: list[StoredNode] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            wrong.extend(each for each in nodes if cache.read(each.key) not in (each, None))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(3):
        for each in nodes:
            cache.write(each)
            cache.touch(each.key)
        assert cache.flush(DEADLINE)
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert Survey(root).total <= 30_000


def test_closing_writes_what_waits_and_nothing_more(open_cache: Open) -> None:
    nodes = chain(*([number] for number in range(50)))
    cache = open_cache()
    for each in nodes:
        cache.write(each)
    cache.close(DEADLINE)
    assert not cache.write(node([99]))
    assert len(open_cache()) == 50
