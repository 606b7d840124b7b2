"""The headers of weights are read once."""

import os
from pathlib import Path

from mlxd.models.weights import WeightsReader
from tests.fakes.model_folder import write_safetensors


def test_a_file_is_read_again_only_if_it_has_changed(tmp_path: Path) -> None:
    file = write_safetensors(tmp_path / "model.safetensors", {"a": ("F16", [2])})
    reader = WeightsReader()
    whole = reader.read(tmp_path, [file.name])
    assert (whole.size_bytes, whole.dtype, whole.fault) == (file.stat().st_size, "float16", None)
    before = file.stat()
    file.write_bytes(b"x" * before.st_size)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert reader.read(tmp_path, [file.name]) == whole
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert reader.read(tmp_path, [file.name]).fault == "model.safetensors is not a safetensors file"
