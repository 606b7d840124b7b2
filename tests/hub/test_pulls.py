"""The daemon's side of downloads, with processes that do what a script says."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mlxd.errors import Draining, InvalidRequest, MlxdError, PullFailed, PullRefused
from mlxd.hub.pulls import Pulls
from mlxd.hub.reference import parse
from mlxd.hub.staging import Pending, Staging, unfinished

TINY = parse("acme/tiny")
DONE = (
    '{"type":"done","path":"/m","commit":"c","size_bytes":9,"bytes_fetched":9,"up_to_date":false}'
)
START = """
import os, pathlib, sys, time
models = pathlib.Path(sys.argv[sys.argv.index("--into") + 1])
folder = models / ".pulls" / sys.argv[1].replace("/", "--")
log = models / "started"
log.open("a").write(sys.argv[1] + "\\n")
def say(line):
    print(line, flush=True)
def come():
    (folder / "hash.part").write_bytes(b"123456789")
def die():
    os.kill(os.getpid(), 9)
"""
WAIT = "sys.stdin.read()"

MakePulls = Callable[[str], Pulls]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakePulls]:
    """Give downloads whose process runs `script`."""
    made: list[Pulls] = []

    def make(script: str) -> Pulls:
        made.append(Pulls(tmp_path, 10**9, (sys.executable, "-c", START + script)))
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


async def test_its_last_words_are_the_result(make: MakePulls) -> None:
    pulls = make(f"say('{DONE}')")
    done = await pulls.start(TINY).result()
    assert (done.path, done.commit) == ("/m", "c")
    assert pulls.pulls == []


async def test_what_is_started_twice_runs_once(make: MakePulls, tmp_path: Path) -> None:
    pulls = make(WAIT)
    assert pulls.start(TINY) is pulls.start(TINY)
    with pytest.raises(InvalidRequest, match=r"acme/tiny is on its way: .*--cancel"):
        pulls.start(parse("acme/tiny@v2"))
    await until(lambda: started(tmp_path) == ["acme/tiny"])


async def test_a_few_run_and_the_others_wait(make: MakePulls, tmp_path: Path) -> None:
    pulls = make(WAIT)
    for name in "abc":
        pulls.start(parse(f"acme/{name}"))
    await until(lambda: len(started(tmp_path)) == 2)
    await pulls.cancel("acme/a")
    await until(lambda: started(tmp_path)[2:] == ["acme/c"])


async def test_a_process_that_is_killed_is_started_again(make: MakePulls, tmp_path: Path) -> None:
    pulls = make(f"die() if len(log.read_text().split()) < 3 else say('{DONE}')")
    await pulls.start(TINY).result()
    assert len(started(tmp_path)) == 3


@pytest.mark.parametrize(
    ("script", "how"),
    [("die()", "was killed by SIGKILL"), ("sys.exit(7)", "ended with status 7"), ("say('?')", "0")],
)
async def test_a_process_without_last_words_is_a_failure(
    make: MakePulls, script: str, how: str
) -> None:
    pulls = make(f"come(); {script}")
    with pytest.raises(PullFailed, match=f"the process that downloads acme/tiny .*{how}"):
        await pulls.start(TINY).result()
    (failed,) = pulls.pulls
    assert isinstance(failed.error, PullFailed)


@pytest.mark.parametrize(
    ("kind", "kept", "resumed"),
    [("failed", 9, []), ("unreachable", 9, ["acme/tiny"]), ("refused", 0, [])],
)
async def test_what_becomes_of_a_failure(
    make: MakePulls, tmp_path: Path, kind: str, kept: int, resumed: list[str]
) -> None:
    pulls = make(f"""come(); say('{{"type":"failed","kind":"{kind}","message":"no"}}')""")
    with pytest.raises(MlxdError, match="no") as raised:
        await pulls.start(TINY).result()
    assert isinstance(raised.value, PullRefused) == (kind == "refused")
    assert Staging(tmp_path, "acme/tiny").size_bytes() == kept
    (tmp_path / "started").unlink()

    following = make(WAIT)
    following.resume()
    if resumed:
        await until(lambda: started(tmp_path) == resumed)
    elif kept:
        assert [pull.error.message for pull in following.pulls if pull.error] == ["no"]
    else:
        assert following.pulls == []


async def test_a_late_refusal_keeps_what_has_come(make: MakePulls, tmp_path: Path) -> None:
    large = '(folder / "hash.part").write_bytes(bytes(20_000_000))'
    pulls = make(f"""{large}; say('{{"type":"failed","kind":"refused","message":"no"}}')""")
    with pytest.raises(PullRefused, match="no"):
        await pulls.start(TINY).result()
    assert unfinished(tmp_path) == [Pending(TINY, "no")]
    assert await pulls.cancel("acme/tiny") == 20_000_000
    assert unfinished(tmp_path) == []


async def test_a_stop_ends_the_process_and_keeps_what_has_come(
    make: MakePulls, tmp_path: Path
) -> None:
    pulls = make(f"come(); {WAIT}")
    pull = pulls.start(TINY)
    await until(lambda: pull.staging.size_bytes() > 0)
    await pulls.close()
    with pytest.raises(Draining, match="goes on with the download when it is back"):
        await pull.result()
    with pytest.raises(Draining):
        pulls.start(TINY)
    assert unfinished(tmp_path) == [Pending(TINY)]


async def test_a_cancelled_one_leaves_nothing(make: MakePulls, tmp_path: Path) -> None:
    pulls = make(f"come(); {WAIT}")
    pull = pulls.start(TINY)
    await until(lambda: pull.staging.size_bytes() > 0)
    assert await pulls.cancel("acme/tiny") == 9
    with pytest.raises(PullFailed, match="was cancelled"):
        await pull.result()
    assert not pull.staging.folder.exists()
    with pytest.raises(InvalidRequest, match="acme/tiny is not being pulled"):
        await pulls.cancel("acme/tiny")


async def test_a_models_directory_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("no folder")
    pulls = Pulls(tmp_path / "models", 10**9)
    with pytest.raises(PullFailed, match="Not a directory"):
        pulls.start(TINY)
    assert pulls.pulls == []
