"""`python -m mlxd.hub OWNER/NAME REVISION --into MODELS_DIR --memory-limit BYTES`: one download.

The daemon runs it. It reports as `protocol.py` says, and exits when its standard input ends, which
is when the daemon does, however that died. The next download resumes with what is on disk.
"""

import argparse
import errno
import os
import sys
import threading
from pathlib import Path

from mlxd.errors import MlxdError, PullFailed
from mlxd.hub.protocol import DownloadFailed, Report, encode_line
from mlxd.hub.reference import Reference

_FULL = (errno.ENOSPC, errno.EDQUOT)


def main() -> None:
    """Run one download, and report how it ended."""
    parser = argparse.ArgumentParser(prog="mlxd.hub", description="Download one model.")
    parser.add_argument("repo")
    parser.add_argument("revision")
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--memory-limit", type=int, required=True)
    options = parser.parse_args()
    threading.Thread(target=_exit_with_daemon, daemon=True).start()
    reference = Reference(options.repo, options.revision)
    _report(_download(reference, options.into, options.memory_limit))


def _download(reference: Reference, models_dir: Path, memory_limit: int) -> Report:
    # These imports take most of a second, in which the daemon may end already.
    from mlxd.hub.download import Download
    from mlxd.hub.meter import Meter
    from mlxd.hub.repository import Repository

    try:
        return Download(Repository(reference), models_dir, memory_limit, Meter(_report)).run()
    except MlxdError as error:
        return DownloadFailed(code=error.code, message=error.message)
    except OSError as error:
        message = f"{error.filename or models_dir}: {error.strerror or error}"
        if error.errno in _FULL:
            message = (
                f"the disk of {models_dir} is full: free some space, then resume with "
                f"`mlxctl pull {reference}`"
            )
        return DownloadFailed(code=PullFailed.code, message=message)


def _report(report: Report) -> None:
    line = encode_line(report)
    while line:
        line = line[os.write(sys.stdout.fileno(), line) :]


def _exit_with_daemon() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
