"""A download process is followed to its last report; scripts stand in for it."""

import sys

import msgspec
import pytest

from mlxd.config import HubConfig
from mlxd.control_api import PullStatus
from mlxd.errors import HubUnreachable, PullFailed
from mlxd.hub.download_process import Report, download
from mlxd.hub.reference import parse
from tests.support.downloads import REPLY

TINY = parse("acme/tiny")
STATUS = PullStatus(model="acme/tiny", revision="main", state="downloading", bytes_done=4)
DONE = Report(done=REPLY)


def script(*reports: Report | str) -> tuple[str, ...]:
    """Return the command of a process that prints `reports`."""
    lines = [
        line if isinstance(line, str) else msgspec.json.encode(line).decode() for line in reports
    ]
    return (sys.executable, "-c", "\n".join(f"print({line!r}, flush=True)" for line in lines))


async def test_progress_is_shown_and_the_result_returned() -> None:
    shown: list[PullStatus] = []
    command = script(Report(progress=STATUS), DONE)
    assert await download(command, TINY, shown.append) == REPLY
    assert shown == [STATUS]


async def test_a_failure_is_raised_as_the_error_that_it_is() -> None:
    command = script(Report.of(HubUnreachable("no network")))
    with pytest.raises(HubUnreachable, match="no network"):
        await download(command, TINY, print)


async def test_other_output_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    *python, program = script(DONE)
    errors = (*python, f"import sys; print('oops', file=sys.stderr); {program}")
    assert await download(script("hello", DONE), TINY, print) == REPLY
    assert await download(errors, TINY, print) == REPLY
    assert caplog.messages == [
        "unexpected output of the download of acme/tiny: b'hello\\n'",
        "acme/tiny: oops",
    ]


async def test_a_program_that_cannot_be_started_is_a_failed_pull() -> None:
    with pytest.raises(PullFailed, match=r"cannot start a process: .*No such file"):
        await download(("/nowhere/python",), TINY, print)


async def test_it_gets_what_is_configured_about_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "http://environment:1")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/bundle.pem")
    *python, program = script(DONE)
    check = (
        "import os; assert os.environ['HTTPS_PROXY'] == 'http://configured:1'; "
        "assert os.environ['SSL_CERT_FILE'] == '/bundle.pem'; "
        "assert 'https_proxy' not in os.environ\n"
    )
    variables = HubConfig(proxy="http://configured:1").variables()
    assert await download((*python, check + program), TINY, print, variables) == REPLY
