"""Downloads, whose process is a script here."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from mlxd.control.pulls import PullsControl
from mlxd.control_api import PullStatus
from mlxd.errors import InvalidRequest, PullRefused
from mlxd.hub.download_process import Report
from mlxd.hub.pulls import Pulls
from tests.support.downloads import REPLY

PROGRESS = Report(
    progress=PullStatus(
        model="acme/tiny",
        revision="v2",
        state="downloading",
        bytes_done=3,
        bytes_total=9,
        bytes_per_second=1.0,
        file="model.safetensors",
    )
)
DONE = Report(done=REPLY)
REFUSED = Report.of(PullRefused("no such model"))
WAIT = "sys.stdin.read()"

Make = Callable[..., PullsControl]


@pytest.fixture
async def make(models: Path) -> AsyncIterator[Make]:
    """Return the control of downloads whose process sends `reports`, and then perhaps waits."""
    made: list[Pulls] = []

    def make(*reports: Report, end: str = "") -> PullsControl:
        lines = [msgspec.json.encode(report).decode() for report in reports]
        script = f"import sys\nfor line in {lines}: print(line, flush=True)\n{end}"
        made.append(Pulls(models, 10**9, 8, (sys.executable, "-c", script)))
        return PullsControl(made[-1])

    yield make
    for pulls in made:
        await pulls.close()


async def test_a_download_shows_its_progress_until_it_is_cancelled(make: Make) -> None:
    control = make(PROGRESS, end=WAIT)
    task = control.pull("acme/tiny@v2")
    async with asyncio.timeout(30):
        while (status := task.progress()).state != "downloading":
            await asyncio.sleep(0.01)
    assert (status.model, status.revision) == ("acme/tiny", "v2")
    assert (status.bytes_done, status.bytes_total, status.file) == (3, 9, "model.safetensors")
    assert control.list().pulls == [status]
    assert (await control.cancel("acme/tiny")).model == "acme/tiny"
    assert control.list().pulls == []
    with pytest.raises(InvalidRequest):
        await control.cancel("acme/tiny")


async def test_the_reply_says_where_the_model_is(make: Make) -> None:
    reply = await make(DONE).pull("acme/tiny").result()
    assert (reply.model, reply.path, reply.commit) == ("acme/tiny", "/m", "c")
    assert (reply.size_bytes, reply.bytes_fetched, reply.up_to_date) == (9, 9, False)


async def test_a_refused_download_is_an_error(make: Make) -> None:
    control = make(REFUSED)
    with pytest.raises(PullRefused, match="no such model"):
        await control.pull("acme/tiny").result()
