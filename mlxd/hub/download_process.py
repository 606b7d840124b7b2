"""One download process: started, followed to its last report, and ended with the daemon.

It prints one `Report` a line, as JSON: any number about its progress, then one about its end.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence

import msgspec

from mlxd import network
from mlxd.control_api import PullReply, PullStatus
from mlxd.errors import HubUnreachable, MlxdError, PullFailed, PullRefused
from mlxd.hub.reference import Reference
from mlxd.network import replaced
from mlxd.processes import allowed, ending

DOWNLOAD_COMMAND = (sys.executable, "-P", "-m", "mlxd.hub")
_MAX_LINE = 1 << 20
_ENVIRONMENT = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
_ERRORS: dict[str | None, type[MlxdError]] = {
    error.code: error for error in (PullRefused, PullFailed, HubUnreachable)
}

_log = logging.getLogger("mlxd.pull")


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The progress of a download, its result, or the message of its error and the error's code."""

    progress: PullStatus | None = None
    done: PullReply | None = None
    error: str | None = None
    code: str | None = None

    @classmethod
    def of(cls, error: MlxdError) -> "Report":
        """Return the report of an error."""
        return cls(error=error.message, code=error.code)


async def download(
    command: Sequence[str],
    reference: Reference,
    show: Callable[[PullStatus], None],
    variables: Mapping[str, str] = {},
) -> PullReply:
    """Run `command`, call `show` with its progress, and return its result.

    `variables` say how to reach the hub, where this process's environment says something else.

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
            env=_environment(variables),
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
    last = following.result()
    if last.done is not None:
        return last.done
    if last.error is not None:
        raise _ERRORS.get(last.code, PullFailed)(last.error)
    raise PullFailed(
        f"the download process {ending(status)}; "
        f"resume with `mlxctl pull {reference}`, or see `mlxctl logs`"
    )


async def _follow(
    output: asyncio.StreamReader, reference: Reference, show: Callable[[PullStatus], None]
) -> Report:
    """Return the last report; an empty one if the process ended without it."""
    async for line in output:
        try:
            report = msgspec.json.decode(line, type=Report)
        except msgspec.DecodeError:
            _log.warning("unexpected output of the download of %s: %r", reference, line)
            continue
        if report.progress is None:
            return report
        show(report.progress)
    return Report()


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """A download reaches the hub, with its token; it gets no keys of the daemon."""
    hub = {name: value for name, value in os.environ.items() if name.startswith("HF_")}
    reach = replaced(hub | network.variables(os.environ), variables)
    return {**allowed(os.environ), **reach, **_ENVIRONMENT}


async def _log_lines(output: asyncio.StreamReader, reference: Reference) -> None:
    async for line in output:
        _log.info("%s: %s", reference, line.decode(errors="replace").rstrip())


async def _terminate(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
