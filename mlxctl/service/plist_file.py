"""The property list on the disk, which launchd reads and anybody may edit."""

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from mlxctl.errors import CommandFailed
from mlxctl.service import plist
from mlxctl.service.plist import Plist


class PlistFile:
    """The file at `path`, which may not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether there is one."""
        return self.path.exists()

    def content(self) -> bytes:
        """Give what is in it; nothing where it cannot be read."""
        try:
            return self.path.read_bytes()
        except OSError:
            return b""

    def read(self) -> Plist | None:
        """Give the plist; None where there is none, or nothing that is one."""
        return parse(self.content())

    def is_untouched(self) -> bool:
        """Whether nobody has edited it since mlxctl wrote it."""
        return plist.is_untouched(self.content())

    def write(self, content: bytes, needed: Iterable[Path], user: str | None) -> None:
        """Replace it in one step, and make the `needed` folders, which launchd would not.

        They are `user`'s, where that is somebody else.

        Raises:
            CommandFailed: it cannot be written.
        """
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for folder in needed:
                _make_folder(folder, user)
            fresh.write_bytes(content)
            fresh.chmod(0o644)  # launchd refuses one that others may write
            if user is not None:
                os.chown(fresh, 0, 0)  # nor does it take one that is not root's and wheel's
            fresh.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise CommandFailed(f"{self.path} cannot be written: {error.strerror}") from error

    def remove(self) -> bool:
        """Remove it, and tell whether it was there.

        Raises:
            CommandFailed: it cannot be removed.
        """
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise CommandFailed(f"{self.path} cannot be removed: {error.strerror}") from error
        return True


def parse(content: bytes) -> Plist | None:
    """Read a property list; None where it is none, or no table."""
    import plistlib  # only where there is something to compare
    from xml.parsers.expat import ExpatError

    try:
        found = plistlib.loads(content)
    except (ValueError, ExpatError, AttributeError, LookupError, OverflowError):
        return None
    return found if isinstance(found, dict) else None


def _make_folder(folder: Path, user: str | None) -> None:
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=0o700)
        if user is not None:
            shutil.chown(missing, user)
