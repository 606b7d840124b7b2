"""One download process: started, followed to its last report, and ended with the daemon."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

import msgspec

from mlxd.errors import PullFailed
from mlxd.hub.protocol import Downloaded, DownloadFailed, DownloadProgress, decode_line
from mlxd.hub.reference import Reference

DOWNLOAD_COMMAND = (sys.executable, "-P", "-m", "mlxd.hub")
_MAX_LINE = 1 << 20
_ENVIRONMENT = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "PYTHONUNBUFFERED": "1",
}

_log = logging.getLogger("mlxd.pull")


async def download(
    command: Sequence[str], reference: Reference, show: Callable[[DownloadProgress], None]
) -> Downloaded:
    """Run `command`, call `show` with its progress, and return its result.

    Raises:
        PullRefused, PullFailed, HubUnreachable: there is no model, and why.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            # The process exits when this pipe is closed, which is when the daemon ends.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_MAX_LINE,
            start_new_session=True,
            env={**os.environ, **_ENVIRONMENT},
        )
    except OSError as error:
        raise PullFailed(f"cannot start a process: {error}") from error
    assert process.stdout is not None  # noqa: S101  a pipe, see above
    assert process.stderr is not None  # noqa: S101
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_log_lines(process.stderr, reference))
            following = group.create_task(_follow(process.stdout, reference, show))
        status = await process.wait()
    finally:
        await _terminate(process)
    match following.result():
        case Downloaded() as done:
            return done
        case DownloadFailed() as failed:
            raise failed.error()
        case None:
            raise PullFailed(
                f"the download process {_ending(status)}; "
                f"resume with `mlxctl pull {reference}`, or see `mlxctl logs`"
            )


async def _follow(
    output: asyncio.StreamReader, reference: Reference, show: Callable[[DownloadProgress], None]
) -> Downloaded | DownloadFailed | None:
    """Return the last report; None if the process ended without one."""
    async for line in output:
        try:
            report = decode_line(line)
        except msgspec.DecodeError:
            _log.warning("unexpected output of the download of %s: %r", reference, line)
            continue
        if not isinstance(report, DownloadProgress):
            return report
        show(report)
    return None


async def _log_lines(output: asyncio.StreamReader, reference: Reference) -> None:
    async for line in output:
        _log.info("%s: %s", reference, line.decode(errors="replace").rstrip())


async def _terminate(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _ending(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"exited with status {status}"
