"""`python -m mlxd.hub OWNER/NAME REVISION …`: one download.

The daemon runs it, as `download_process.py` says. It exits when its standard input ends, which is
when the daemon does, however that died. The next download resumes with what is on disk.
"""

import argparse
import os
import sys
import threading
from pathlib import Path

import msgspec

from mlxd.errors import MlxdError, PullFailed
from mlxd.hub.download import Download
from mlxd.hub.download_process import Report
from mlxd.hub.meter import Meter
from mlxd.hub.reference import Reference
from mlxd.hub.repository import Repository


def main() -> None:
    """Run one download, and report how it ended."""
    parser = argparse.ArgumentParser(prog="mlxd.hub", description="Download one model.")
    parser.add_argument("repo")
    parser.add_argument("revision")
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--memory-limit", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    options = parser.parse_args()
    threading.Thread(target=_exit_with_daemon, daemon=True).start()
    reference = Reference(options.repo, options.revision)
    _report(_download(reference, options.into, options.memory_limit, options.connections))


def _download(
    reference: Reference, models_dir: Path, memory_limit: int, connections: int
) -> Report:
    meter = Meter(reference, lambda status: _report(Report(progress=status)))
    try:
        repository = Repository(reference)
        done = Download(repository, models_dir, memory_limit, meter, connections).run()
    except MlxdError as error:
        return Report.of(error)
    except OSError as error:
        where = error.filename or models_dir
        return Report.of(PullFailed(f"{where}: {error.strerror or error}"))
    return Report(done=done)


def _report(report: Report) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


def _exit_with_daemon() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
