"""`python -m mlxd.hub OWNER/NAME REVISION --into MODELS_DIR --memory-limit BYTES`: one pull.

The daemon runs it. It tells how far it is as `report.py` says, and ends when its standard input
does: with the daemon, however that died. What has come is on disk then; the next one goes on there.
"""

import argparse
import errno
import os
import sys
import threading
from pathlib import Path

from mlxd.errors import HubUnreachable, MlxdError, PullFailed, PullRefused
from mlxd.hub.protocol import DownloadFailed, FailureKind, Report, encode_line
from mlxd.hub.reference import Reference

_KINDS: dict[type[MlxdError], FailureKind] = {
    PullRefused: "refused",
    PullFailed: "failed",
    HubUnreachable: "unreachable",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)


def main() -> None:
    """The process: one pull, and a last line about it."""
    parser = argparse.ArgumentParser(prog="mlxd.hub", description="Download one model.")
    parser.add_argument("repo")
    parser.add_argument("revision")
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--memory-limit", type=int, required=True)
    options = parser.parse_args()
    threading.Thread(target=_end_with_daemon, daemon=True).start()
    reference = Reference(options.repo, options.revision)
    _say(_pull(reference, options.into, options.memory_limit))


def _pull(reference: Reference, models_dir: Path, memory_limit: int) -> Report:
    # It takes most of a second, in which the end of the daemon should be noticed already.
    from mlxd.hub.download import Download
    from mlxd.hub.meter import Meter
    from mlxd.hub.repository import Repository

    try:
        return Download(Repository(reference), models_dir, memory_limit, Meter(_say)).run()
    except MlxdError as error:
        return DownloadFailed(kind=_KINDS[type(error)], message=error.message)
    except OSError as error:
        return DownloadFailed(kind="failed", message=_why(error, models_dir, reference))


def _why(error: OSError, models_dir: Path, reference: Reference) -> str:
    if error.errno in _FULL:
        return (
            f"the disk of {models_dir} is full: make room and go on with `mlxctl pull {reference}`"
        )
    return f"{error.filename or models_dir}: {error.strerror or error}"


def _say(report: Report) -> None:
    line = encode_line(report)
    while line:
        line = line[os.write(sys.stdout.fileno(), line) :]


def _end_with_daemon() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
