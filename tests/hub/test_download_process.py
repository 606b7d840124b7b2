"""A download process is followed to its last report; scripts stand in for it."""

import sys

import pytest

from mlxd.errors import HubUnreachable, PullFailed
from mlxd.hub.download_process import download
from mlxd.hub.protocol import DownloadProgress
from mlxd.hub.reference import parse

TINY = parse("acme/tiny")
DONE = (
    '{"type":"done","path":"/m","commit":"c","size_bytes":9,"bytes_fetched":9,"up_to_date":false}'
)


def script(*lines: str) -> tuple[str, ...]:
    """Return the command of a process that prints `lines`."""
    return (sys.executable, "-c", "\n".join(f"print({line!r}, flush=True)" for line in lines))


async def test_progress_is_shown_and_the_result_returned() -> None:
    shown: list[DownloadProgress] = []
    command = script('{"type":"progress","phase":"downloading","bytes_done":4}', DONE)
    done = await download(command, TINY, shown.append)
    assert (done.path, done.size_bytes) == ("/m", 9)
    assert [progress.bytes_done for progress in shown] == [4]


async def test_a_failure_is_raised_as_the_error_that_it_is() -> None:
    command = script('{"type":"failed","code":"hub_unreachable","message":"no network"}')
    with pytest.raises(HubUnreachable, match="no network"):
        await download(command, TINY, print)


async def test_other_output_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    errors = (sys.executable, "-c", f"import sys; print('oops', file=sys.stderr); print({DONE!r})")
    assert (await download(script("hello", DONE), TINY, print)).commit == "c"
    assert (await download(errors, TINY, print)).commit == "c"
    assert caplog.messages == [
        "unexpected output of the download of acme/tiny: b'hello\\n'",
        "acme/tiny: oops",
    ]


async def test_a_program_that_cannot_be_started_is_a_failed_pull() -> None:
    with pytest.raises(PullFailed, match=r"cannot start a process: .*No such file"):
        await download(("/nowhere/python",), TINY, print)
