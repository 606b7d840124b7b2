"""The pulls of the daemon, with scripts in place of the download process."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from mlxd.control_api import PullStatus
from mlxd.errors import (
    Draining,
    HubUnreachable,
    InvalidRequest,
    MlxdError,
    PullFailed,
    PullRefused,
)
from mlxd.hub.download_process import Report
from mlxd.hub.pulls import Pulls
from mlxd.hub.reference import parse
from mlxd.hub.staging import Pending, Staging, unfinished
from mlxd.metrics.metrics import Metrics
from tests.support.counts import counted
from tests.support.downloads import REPLY

TINY = parse("acme/tiny")
DONE = msgspec.json.encode(Report(done=REPLY)).decode()
START = """
import os, pathlib, sys, time
models = pathlib.Path(sys.argv[sys.argv.index("--into") + 1])
folder = models / ".pulls" / sys.argv[1].replace("/", "--")
log = models / "started"
log.open("a").write(sys.argv[1] + "\\n")
def say(line):
    print(line, flush=True)
def receive():
    (folder / "hash.part").write_bytes(b"123456789")
def die():
    os.kill(os.getpid(), 9)
"""
WAIT = "sys.stdin.read()"

MakePulls = Callable[[str], Pulls]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakePulls]:
    """Return a function that makes pulls whose process runs `script`."""
    made: list[Pulls] = []

    def make(script: str) -> Pulls:
        made.append(Pulls(tmp_path, 10**9, 8, (sys.executable, "-c", START + script)))
        return made[-1]

    yield make
    for pulls in made:
        await pulls.close()


def started(folder: Path) -> list[str]:
    log = folder / "started"
    return log.read_text().split() if log.exists() else []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_last_report_is_the_result(make: MakePulls) -> None:
    pulls = make(f"say('{DONE}')")
    done = await pulls.start(TINY).result()
    assert (done.path, done.commit) == ("/m", "c")
    assert pulls.pulls == []


async def test_pulls_and_their_bytes_are_counted(tmp_path: Path) -> None:
    def progress(state: str, done: int) -> str:
        status = PullStatus(model="acme/tiny", revision="main", state=state, bytes_done=done)
        return f"say('{msgspec.json.encode({'progress': status}).decode()}')"

    lines = [progress("asking", 0), *(progress("downloading", done) for done in (500, 700, 900))]
    script = START + "; ".join([*lines, f"say('{DONE}')"])
    metrics = Metrics()
    pulls = Pulls(tmp_path, 10**9, 8, (sys.executable, "-c", script), metrics=metrics)
    pull = pulls.start(TINY)
    assert metrics.pulls_running == 1
    await pull.result()
    assert metrics.pulls_running == 0
    assert counted(metrics, "mlxd_pulls") == {("done",): 1, ("failed",): 0, ("cancelled",): 0}
    assert counted(metrics, "mlxd_pull_bytes") == {(): 400}  # 500 were there before


async def test_a_pull_that_is_started_twice_runs_once(make: MakePulls, tmp_path: Path) -> None:
    pulls = make(WAIT)
    assert pulls.start(TINY) is pulls.start(TINY)
    with pytest.raises(InvalidRequest, match=r"acme/tiny is being pulled: .*--cancel"):
        pulls.start(parse("acme/tiny@v2"))
    await until(lambda: started(tmp_path) == ["acme/tiny"])


async def test_two_pulls_run_at_a_time(make: MakePulls, tmp_path: Path) -> None:
    pulls = make(WAIT)
    for name in "abc":
        pulls.start(parse(f"acme/{name}"))
    await until(lambda: len(started(tmp_path)) == 2)
    await pulls.cancel("acme/a")
    await until(lambda: started(tmp_path)[2:] == ["acme/c"])


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("die()", "was killed by SIGKILL"),
        ("sys.exit(7)", "exited with status 7"),
        ("say('?')", "exited with status 0"),
    ],
)
async def test_a_process_that_ends_without_a_result_is_a_failed_pull(
    make: MakePulls, tmp_path: Path, script: str, how: str
) -> None:
    pulls = make(f"receive(); {script}")
    with pytest.raises(PullFailed, match=f"the download process {how}; resume with `mlxctl pull"):
        await pulls.start(TINY).result()
    (failed,) = pulls.pulls
    assert isinstance(failed.error, PullFailed)
    assert unfinished(tmp_path) == [Pending(TINY, failed.error.message)]


async def test_a_failed_pull_is_resumed_when_it_is_asked_for_again(make: MakePulls) -> None:
    pulls = make(f"say('{DONE}') if (folder / 'hash.part').exists() else receive() or die()")
    with pytest.raises(PullFailed, match="was killed"):
        await pulls.start(TINY).result()
    assert (await pulls.start(TINY).result()).path == "/m"
    assert pulls.pulls == []


@pytest.mark.parametrize(
    "error", [PullFailed, HubUnreachable, PullRefused], ids=lambda error: error.code
)
async def test_a_failure_keeps_what_has_come_and_a_refusal_does_not(
    make: MakePulls, tmp_path: Path, error: type[MlxdError]
) -> None:
    report = msgspec.json.encode(Report.of(error("no"))).decode()
    pulls = make(f"receive(); say('{report}')")
    with pytest.raises(error, match="no"):
        await pulls.start(TINY).result()
    kept = error is not PullRefused
    assert Staging(tmp_path, "acme/tiny").size_bytes() == (9 if kept else 0)

    following = make(WAIT)
    following.resume()
    listed = [(pull.running, pull.error and pull.error.message) for pull in following.pulls]
    assert listed == ([(False, "no")] if kept else [])


async def test_a_failure_that_no_caller_waits_for_is_logged_once(
    make: MakePulls, caplog: pytest.LogCaptureFixture
) -> None:
    pulls = make(f"say({msgspec.json.encode(Report.of(PullRefused('no'))).decode()!r})")
    pulls.start(TINY)
    await until(lambda: pulls.pulls == [])
    await asyncio.sleep(0)  # for the task to end
    gc.collect()
    assert caplog.messages == ["the pull of acme/tiny failed: no"]


async def test_a_pull_that_had_not_failed_is_resumed_by_the_next_daemon(
    make: MakePulls, tmp_path: Path
) -> None:
    make(WAIT).start(TINY)
    following = make(WAIT)
    following.resume()
    (resumed,) = following.pulls
    assert resumed.running
    await until(lambda: started(tmp_path) == ["acme/tiny"] * 2)


async def test_closing_ends_the_process_and_keeps_what_has_come(
    make: MakePulls, tmp_path: Path
) -> None:
    pulls = make(f"receive(); {WAIT}")
    pull = pulls.start(TINY)
    await until(lambda: pull.staging.size_bytes() > 0)
    await pulls.close()
    with pytest.raises(Draining, match="resumes the download when it is back"):
        await pull.result()
    with pytest.raises(Draining):
        pulls.start(TINY)
    assert unfinished(tmp_path) == [Pending(TINY)]


async def test_a_cancelled_pull_leaves_nothing(make: MakePulls, tmp_path: Path) -> None:
    pulls = make(f"receive(); {WAIT}")
    pull = pulls.start(TINY)
    await until(lambda: pull.staging.size_bytes() > 0)
    assert await pulls.cancel("acme/tiny") == 9
    with pytest.raises(PullFailed, match="was cancelled"):
        await pull.result()
    assert not pull.staging.folder.exists()
    with pytest.raises(InvalidRequest, match="acme/tiny is not being pulled"):
        await pulls.cancel("acme/tiny")


async def test_a_models_directory_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("no folder")
    pulls = Pulls(tmp_path / "models", 10**9, 8)
    with pytest.raises(PullFailed, match="Not a directory"):
        pulls.start(TINY)
    assert pulls.pulls == []
