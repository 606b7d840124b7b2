"""The property list on the disk: whose it is, and what is to be read from a broken one."""

import os
import plistlib
import shutil
from pathlib import Path

import pytest

from mlxctl.errors import CommandFailed
from mlxctl.service.plist import render, sealed
from mlxctl.service.plist_file import PlistFile

PLIST = {"Label": "x", "ProgramArguments": ["x"]}


@pytest.fixture
def file(tmp_path: Path) -> PlistFile:
    return PlistFile(tmp_path / "Library" / "x.plist")


def test_what_mlxctl_wrote_is_untouched_until_a_byte_changes(file: PlistFile) -> None:
    file.write(sealed(render(PLIST)), [], None)
    assert file.read() == PLIST
    assert file.is_untouched()
    file.path.write_bytes(file.content().replace(b"<string>x", b"<string>y", 1))
    assert not file.is_untouched()
    file.path.write_bytes(render(PLIST))
    assert not file.is_untouched()


def test_nobody_else_may_write_it_and_nothing_else_is_left(file: PlistFile, tmp_path: Path) -> None:
    needed = tmp_path / "logs" / "of" / "it"
    file.write(b"1", [needed], None)
    file.write(b"2", [needed], None)
    assert file.path.stat().st_mode & 0o777 == 0o644
    assert needed.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in file.path.parent.iterdir()] == ["x.plist"]
    assert file.content() == b"2"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_the_daemon_needs_is_its_users_and_the_plist_is_roots(
    file: PlistFile, tmp_path: Path
) -> None:
    file.path.parent.mkdir()
    shutil.chown(file.path.parent, group=1)
    file.path.parent.chmod(0o2755)  # what is made in it has its group, as always on a Mac
    needed = tmp_path / "logs" / "mlxd"
    file.write(b"1", [needed], "nobody")
    assert needed.owner() == needed.parent.owner() == "nobody"
    assert (file.path.stat().st_uid, file.path.stat().st_gid) == (0, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"precious",
        b"<plist>",
        b"<plist><date>today</date></plist>",
        b"<plist><integer>x</integer></plist>",
        b"<plist><array/></plist>",
        b"bplist00" + b"\xff" * 40,
        plistlib.dumps(PLIST)[:-20],
    ],
)
def test_a_broken_one_is_none(file: PlistFile, content: bytes) -> None:
    file.write(content, [], None)
    assert file.read() is None


def test_one_that_is_not_there(file: PlistFile) -> None:
    assert (file.exists(), file.read(), file.is_untouched()) == (False, None, False)
    assert file.remove() is False
    file.write(b"1", [], None)
    assert file.remove() is True


def test_a_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(CommandFailed, match="cannot be written"):
        PlistFile(tmp_path / "a" / "x.plist").write(b"1", [], None)
