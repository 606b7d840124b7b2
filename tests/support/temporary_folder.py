"""One temporary folder for a test run, so that a run that was killed leaves nothing for good."""

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path

_NAME = re.compile(r"mlxd-(\d+)")


def make_temporary_folder() -> Path:
    """Make a folder, the TMPDIR of this process and of those it starts; remove those of dead runs.

    Its path is short: Unix sockets have 104 bytes for theirs.
    """
    parent = Path(tempfile.gettempdir())
    for folder in parent.iterdir():
        if (found := _NAME.fullmatch(folder.name)) and not _is_another_run(int(found[1])):
            shutil.rmtree(folder, ignore_errors=True)
    folder = parent / f"mlxd-{os.getpid()}"
    folder.mkdir(mode=0o700)
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(parent))  # for `tmp_path`, which outlives
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # so that this process asks for it again
    return folder


def _is_another_run(pid: int) -> bool:
    if pid == os.getpid():
        return False
    with contextlib.suppress(PermissionError):  # another user's
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
