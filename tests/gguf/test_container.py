"""Damaged GGUF files are one clear error, whatever is wrong with them."""

import random
from pathlib import Path

import pytest

from mlxd.errors import InvalidRequest
from mlxd.gguf.container import open_container
from mlxd.gguf.importer import import_gguf
from tests.support.gguf_files import random_model, write_model


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("gguf")
    return write_model(folder / "small.gguf", "llama").read_bytes()


def test_metadata_and_tensors_are_read(tmp_path: Path) -> None:
    model = random_model("qwen2")
    container = open_container(write_model(tmp_path / "small.gguf", "qwen2", model))

    assert container.metadata["general.architecture"] == "qwen2"
    assert container.metadata["qwen2.rope.freq_base"] == 10000.0
    assert container.tensors["blk.1.ffn_down.weight"].shape == (64, 96)
    bias = container.blocks(container.tensors["blk.0.attn_q.bias"]).view("<f4")
    assert bias[:, 0].tolist() == model.layers[0].self_attn.q_proj.bias.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a GGUF file"),
        (b"PK\3\4 something else", "is not a GGUF file"),
        (b"GGUF\1\0\0\0", "is of GGUF version 1 or big-endian"),
        (b"GGUF\0\0\0\3", "is of GGUF version 50331648 or big-endian"),
        (b"GGUF\3\0\0\0", "is cut short: 8 more bytes expected at byte 8"),
        (b"GGUF\3\0\0\0" + b"\0" * 8 + b"\xff" * 16, "is cut short"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)

    with pytest.raises(InvalidRequest) as error:
        open_container(file)

    assert f"{file} {message}" in error.value.message


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot read .*: No such file or directory"):
        open_container(tmp_path / "absent.gguf")
    with pytest.raises(InvalidRequest, match=r"cannot read .*: Is a directory"):
        open_container(tmp_path)


@pytest.mark.parametrize("part", [0.001, 0.02, 0.1, 0.2, 0.5, 0.99, 0.999999])
def test_a_file_cut_short_is_refused(tmp_path: Path, whole_file: bytes, part: float) -> None:
    file = tmp_path / "short.gguf"
    file.write_bytes(whole_file[: int(len(whole_file) * part)])

    with pytest.raises(InvalidRequest, match="is cut short"):
        open_container(file)


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
