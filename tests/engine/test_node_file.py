"""A node as a file: read back as it was, and any change of it is noticed."""

from dataclasses import replace

import pytest
import safetensors

from mlxd.engine.node_file import DamagedNode, StoredNode, Tensor, decode, encode
from tests.support.prompt_nodes import FINGERPRINT, chain, node

A, B = chain([1, 2, 3], [4, 5])
WRITTEN_BY_0_1 = (
    b'\xf0\x01\x00\x00\x00\x00\x00\x00{"__metadata__":{"sha256":"'
    b"a05b25a279ece2f60490ccd8c7d0a37bd37cd6e74bdc7"
    b'17d5cd0d4550a046d7d","format":"mlxd-prompt-1","fingerprint":"0123456789abcdef012'
    b'3456789abcdef","key":"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a'
    b'0a0a0a","parent":"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b'
    b'0b","start":"256","tokens":"[7,8]","meta":"{\\"layers\\":1}"},"0.offset":{"dtype":'
    b'"I32","shape":[],"data_offsets":[0,4]},"0.keys":{"dtype":"F16","shape":[1,2],"da'
    b'ta_offsets":[4,8]}}     \x02\x01\x00\x00abcd'
)
FILE = b"".join(encode(B, FINGERPRINT))


def test_a_node_is_read_as_it_was_written() -> None:
    assert decode(FILE, FINGERPRINT, B.file) == B
    empty = replace(A, tensors={"none": Tensor("float32", (0, 4), b"")}, meta="")
    assert decode(b"".join(encode(empty, FINGERPRINT)), FINGERPRINT, A.file) == empty


def test_other_programs_can_read_the_tensors() -> None:
    found = dict(safetensors.deserialize(FILE))
    assert found["0.keys"]["dtype"] == "BF16"
    assert {name: each["data"] for name, each in found.items()} == {
        name: each.data for name, each in B.tensors.items()
    }


def test_the_tensors_are_not_copied() -> None:
    keys = B.tensors["0.keys"]
    assert any(piece.obj is keys.data for piece in encode(B, FINGERPRINT)[1:])


def test_each_flipped_bit_is_noticed() -> None:
    for bit in range(8 * len(FILE)):
        changed = bytearray(FILE)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedNode):
            decode(bytes(changed), FINGERPRINT, B.file)


def test_each_missing_byte_is_noticed() -> None:
    for length in range(len(FILE)):
        with pytest.raises(DamagedNode):
            decode(FILE[:length], FINGERPRINT, B.file)
    with pytest.raises(DamagedNode):
        decode(FILE + b"\0", FINGERPRINT, B.file)


@pytest.mark.parametrize(
    "other",
    [A, node([4, 5]), node([4, 6], A), replace(B, tokens=(4,)), replace(B, parent=A.parent)],
    ids=["parent", "orphan", "other tokens", "shorter", "elsewhere"],
)
def test_an_intact_file_under_the_name_of_another_is_noticed(other) -> None:
    with pytest.raises(DamagedNode, match="holds another node"):
        decode(FILE, FINGERPRINT, other.file)


def test_the_file_of_another_model_is_noticed() -> None:
    with pytest.raises(DamagedNode, match="belongs to another model"):
        decode(FILE, "f" * 32, B.file)


def test_a_file_of_another_format_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxd.engine.node_file.FORMAT", "mlxd-prompt-2")
    with pytest.raises(DamagedNode, match="has the format mlxd-prompt-1"):
        decode(FILE, FINGERPRINT, B.file)


def test_an_upgrade_of_mlxd_reads_what_this_version_wrote() -> None:
    """If this fails, give `FORMAT` another number: files on disk are no longer understood."""
    known = StoredNode(
        key=b"\x0a" * 32,
        parent=b"\x0b" * 32,
        tokens=(7, 8),
        start=256,
        tensors={
            "0.keys": Tensor("float16", (1, 2), b"abcd"),
            "0.offset": Tensor("int32", (), b"\2\1\0\0"),
        },
        meta='{"layers":1}',
    )
    assert decode(WRITTEN_BY_0_1, FINGERPRINT, known.file) == known


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        ("float8", (1,), b"a"),
        ("float16", (2,), b"abc"),
        ("uint8", (2,), memoryview(b"abcd")[::2]),
    ],
)
def test_a_tensor_is_what_it_says(dtype: str, shape: tuple[int, ...], data: bytes) -> None:
    with pytest.raises(ValueError):
        Tensor(dtype, shape, data)


def test_a_tensor_cannot_take_the_place_of_the_metadata() -> None:
    with pytest.raises(ValueError, match="__metadata__"):
        replace(A, tensors={"__metadata__": Tensor("uint8", (1,), b"a")})
