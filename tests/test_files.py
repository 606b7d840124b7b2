"""A file that is replaced is never seen in part."""

from pathlib import Path

import pytest

from mlxd.files import write_atomically


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    write_atomically(file, b"one")
    write_atomically(file, b"two", mode=0o644)
    assert file.read_bytes() == b"two"
    assert file.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["settings.toml"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "file").touch()
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path / "busy", b"two")
    assert [each.name for each in tmp_path.iterdir()] == ["busy"]
