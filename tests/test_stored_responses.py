import os
import time
from pathlib import Path

import pytest

from mlxd import stored_responses
from mlxd.stored_responses import ResponseStore, StoredResponse

KEY = "a secret key"


def new_id(number: int) -> str:
    return f"resp_{number:048x}"


def response(number: int, text: str = "") -> StoredResponse:
    return StoredResponse({"id": new_id(number), "text": text}, [{"id": "item"}], ["event"])


@pytest.fixture
def store(tmp_path: Path) -> ResponseStore:
    return open_store(tmp_path)


def open_store(folder: Path, key: str = KEY) -> ResponseStore:
    return ResponseStore(folder / "responses", key=key, max_bytes=10_000, max_age=100.0)


def files(tmp_path: Path) -> list[Path]:
    return sorted(tmp_path.glob("responses/*/*.json"))


async def test_a_response_survives_the_store_that_wrote_it(store, tmp_path):
    await store.save(response(1, "Hello"))
    assert await open_store(tmp_path).load(new_id(1)) == response(1, "Hello")


async def test_a_response_belongs_to_the_key_that_made_it(store, tmp_path):
    await store.save(response(1))
    other = open_store(tmp_path, "another key")
    assert await other.load(new_id(1)) is None
    assert await other.delete(new_id(1)) is False
    assert await store.delete(new_id(1)) is True
    assert await store.load(new_id(1)) is None


async def test_only_the_owner_of_the_files_can_read_them_and_no_name_has_the_key(store, tmp_path):
    await store.save(response(1))
    (file,) = files(tmp_path)
    modes = [oct(path.stat().st_mode & 0o777) for path in (file, file.parent, file.parent.parent)]
    assert modes == ["0o600", "0o700", "0o700"]
    assert "secret" not in str(file)


@pytest.mark.parametrize("name", ["../../etc/passwd", "resp_1", "", f"{new_id(1)}/x", "resp_*"])
async def test_no_id_leads_outside(store, name):
    await store.save(response(1))
    assert await store.load(name) is None
    assert await store.delete(name) is False


async def test_the_oldest_go_when_there_are_too_many(store, tmp_path):
    for number in range(12):
        await store.save(response(number, "x" * 900))
        (file,) = tmp_path.glob(f"responses/*/{new_id(number)}.json")
        os.utime(file, (time.time() - 50 + number,) * 2)
    kept = [file.stem for file in files(tmp_path)]
    assert kept == [new_id(number) for number in range(12 - len(kept), 12)]
    assert 8 <= len(kept) <= 10


async def test_a_response_is_gone_when_it_is_too_old(store, tmp_path):
    await store.save(response(1))
    (file,) = files(tmp_path)
    os.utime(file, (time.time() - 101,) * 2)
    assert await store.load(new_id(1)) is None
    store.sweep()
    assert files(tmp_path) == []


async def test_a_file_that_was_never_finished_is_removed(store, tmp_path):
    await store.save(response(1))
    torn = files(tmp_path)[0].with_name(f".{new_id(2)}.json.77")
    torn.write_bytes(b"{")
    os.utime(torn, (time.time() - 61,) * 2)
    store.sweep()
    assert [path.name for path in torn.parent.iterdir()] == [f"{new_id(1)}.json"]


async def test_a_response_that_is_too_large_is_not_kept(store, caplog):
    await store.save(response(1, "x" * 10_001))
    assert await store.load(new_id(1)) is None
    assert "max_bytes" in caplog.text


async def test_what_finds_no_room_is_in_memory_until_there_is(store, tmp_path, caplog):
    (tmp_path / "responses").write_text("in the way")
    await store.save(response(1))
    await store.save(response(2))
    assert await store.load(new_id(1)) == response(1)
    assert "not on the disk yet" in caplog.text
    assert await store.delete(new_id(2)) is True
    assert await store.load(new_id(2)) is None
    (tmp_path / "responses").unlink()
    await store.save(response(3))
    assert [file.stem for file in files(tmp_path)] == [new_id(1), new_id(3)]
    assert await store.load(new_id(1)) == response(1)


async def test_what_is_in_memory_is_bounded(store, tmp_path, monkeypatch):
    monkeypatch.setattr(stored_responses, "_HELD_BYTES", 5000)
    (tmp_path / "responses").write_text("in the way")
    for number in range(9):
        await store.save(response(number, "x" * 900))
    there = [number for number in range(9) if await store.load(new_id(number))]
    assert there == [5, 6, 7, 8]


async def test_a_damaged_file_is_no_response(store, tmp_path):
    await store.save(response(1))
    files(tmp_path)[0].write_bytes(b'{"response": 5')
    assert await store.load(new_id(1)) is None
