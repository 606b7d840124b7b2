"""Damaged GGUF files are one clear error, whatever is wrong with them."""

import os
import random
import struct
from pathlib import Path

import msgspec
import pytest

from mlxd.errors import InvalidRequest
from mlxd.gguf import reader
from mlxd.gguf.blocks import shape_of
from mlxd.gguf.importer import import_gguf
from mlxd.gguf.reader import Count, open_gguf, read_keys
from tests.support.gguf_files import random_model, write_model

NO_TENSORS, HUGE = bytes(8), b"\xff" * 8


def file_of(*parts: bytes, tensors: bytes = NO_TENSORS, keys: int = 1) -> bytes:
    """Return a file of version 3 whose header goes on with `parts`."""
    return b"".join([b"GGUF\3\0\0\0", tensors, struct.pack("<Q", keys), *parts])


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def array(kind: int, length: bytes) -> bytes:
    return struct.pack("<II", ARRAY, kind) + length


A = string(b"a")
UINT8, STRING, ARRAY = 0, 8, 9
NESTED = struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * 2000


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("gguf")
    return write_model(folder / "small.gguf", "llama").read_bytes()


def test_metadata_and_tensors_are_read(tmp_path: Path) -> None:
    model = random_model("qwen2")
    file = open_gguf(write_model(tmp_path / "small.gguf", "qwen2", model))

    assert file.metadata["general.architecture"] == "qwen2"
    assert file.metadata["qwen2.rope.freq_base"] == 10000.0
    assert shape_of(file.tensors["blk.1.ffn_down.weight"]) == (64, 96)
    bias = file.tensors["blk.0.attn_q.bias"].data
    assert bias.tolist() == model.layers[0].self_attn.q_proj.bias.tolist()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(content, reason, id=name)
        for name, content, reason in [
            ("empty", b"", "cannot mmap an empty file"),
            ("other", b"PK\3\4 something else", "GGUF magic invalid"),
            ("old", b"GGUF\1\0\0\0", "Sorry, file appears to be version 1 which we cannot handle"),
            ("new", b"GGUF\4\0\0\0", "Sorry, file appears to be version 4 which we cannot handle"),
            ("big-endian", b"GGUF\0\0\0\3" + (bytes(7) + b"\1") * 2, "it has 24 bytes"),
            ("header", b"GGUF\3\0\0\0", "it has 8 bytes, but needs 24"),
            ("keys", file_of(keys=1 << 63), "it has 24 bytes, but needs 32"),
            ("tensors", file_of(tensors=HUGE, keys=0), "it has 24 bytes, but needs 32"),
            ("string", file_of(HUGE), "it has 32 bytes, but needs 18,446,744,073,709,551,647"),
            ("array", file_of(A, array(UINT8, HUGE)), "it has 49 bytes, but needs 50"),
            ("strings", file_of(A, array(STRING, HUGE)), "it has 49 bytes, but needs 57"),
            ("type", file_of(A, array(99, HUGE), HUGE), "np.uint32(99) is not a valid GGUFValue"),
            ("text", file_of(string(b"\xff"), bytes(12)), "'utf-8' codec can't decode byte 0xff"),
            ("nested", file_of(A, NESTED), "maximum recursion depth exceeded"),
        ]
    ],
)
def test_damaged_and_other_files_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)

    with pytest.raises(InvalidRequest) as error:
        open_gguf(file)

    start = f"{file} is damaged, or is not a little-endian GGUF file of version 2 or 3: {reason}"
    assert error.value.message.startswith(start)
    assert "\n" not in error.value.message


def test_a_file_with_too_many_values_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An array of single bytes takes the most memory for the size of a file."""
    monkeypatch.setattr(reader, "_MOST_VALUES", 1000)
    file = tmp_path / "model.gguf"
    file.write_bytes(file_of(A, array(UINT8, struct.pack("<Q", 2000)), bytes(2000)))

    with pytest.raises(InvalidRequest, match="it has more than 1,000 values"):
        open_gguf(file)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot read .*: No such file or directory"):
        open_gguf(tmp_path / "absent.gguf")
    with pytest.raises(InvalidRequest, match=r"cannot read .*: Is a directory"):
        open_gguf(tmp_path)


def test_what_is_no_file_is_refused_without_being_opened(tmp_path: Path) -> None:
    """Opening a pipe would wait until somebody writes to it."""
    pipe = tmp_path / "model.gguf"
    os.mkfifo(pipe)

    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(InvalidRequest, match=f"cannot read {path}: it is not a regular file"):
            open_gguf(path)


def test_texts_and_dimensions_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_MOST_TEXT", 1 << 20)
    file = tmp_path / "model.gguf"
    text = struct.pack("<I", STRING) + string(bytes(1 << 19))
    file.write_bytes(file_of(string(b"a"), text, string(b"b"), text, keys=2))
    with pytest.raises(InvalidRequest, match="its keys and texts have more than 1 MB"):
        open_gguf(file)

    tensors = struct.pack("<Q", 1)
    file.write_bytes(file_of(A, struct.pack("<I", 1000), bytes(8100), tensors=tensors, keys=0))
    with pytest.raises(InvalidRequest, match="a tensor has 1,000 dimensions"):
        open_gguf(file)


@pytest.mark.parametrize("part", [0.001, 0.02, 0.1, 0.2, 0.5, 0.99, 0.999999])
def test_a_file_cut_short_is_refused(tmp_path: Path, whole_file: bytes, part: float) -> None:
    file = tmp_path / "short.gguf"
    file.write_bytes(whole_file[: int(len(whole_file) * part)])

    with pytest.raises(InvalidRequest, match=r"it has [\d,]+ bytes, but needs [\d,]+"):
        open_gguf(file)


def test_damage_never_crashes_the_import(tmp_path: Path, whole_file: bytes) -> None:
    """With random changes to the header the import refuses the file, or succeeds."""
    chance = random.Random(0)
    file = tmp_path / "damaged.gguf"
    header = whole_file.index(b"blk.1.") + 2000
    for attempt in range(200):
        damaged = bytearray(whole_file)
        for _ in range(3):
            damaged[chance.randrange(4, header)] = chance.randrange(256)
        file.write_bytes(damaged)
        try:
            import_gguf(file, tmp_path / "models", name=f"attempt-{attempt}")
        except InvalidRequest as error:
            assert "\n" not in error.message  # noqa: PT017


class Keys(msgspec.Struct, frozen=True):
    layers: Count
    base: float = msgspec.field(name="rope.base", default=1.0)


def test_keys_are_read_by_prefix() -> None:
    keys = {"llama.layers": 2, "llama.rope.base": 10000, "layers": 3}

    assert read_keys(keys, "llama.", Keys) == Keys(2, 10000.0)
    assert read_keys(keys, "", Keys) == Keys(3)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({}, "Object missing required field `layers`"),
        ({"llama.layers": "2"}, "Expected `int`, got `str` - at `$.layers`"),
        ({"llama.layers": True}, "Expected `int`, got `bool` - at `$.layers`"),
        ({"llama.layers": 0}, "Expected `int` >= 1 - at `$.layers`"),
        (
            {"llama.layers": 1, "llama.rope.base": [1]},
            "Expected `float`, got `array` - at `$.rope.base`",
        ),
    ],
)
def test_a_key_of_another_type_is_named(keys: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        read_keys(keys, "llama.", Keys)

    assert error.value.message == f"the keys llama.* of the file are not valid: {reason}"
