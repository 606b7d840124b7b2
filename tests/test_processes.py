"""What child processes get, and how their end is told."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from mlxd.pool.engine_process import EngineProcess
from mlxd.processes import allowed, ending

SHOW = """
import os
files = sorted(os.listdir("/dev/fd"))
print(*os.environ)
print(*(os.readlink(f"/proc/self/fd/{n}") for n in files if os.path.exists(f"/proc/self/fd/{n}")))
"""


def test_keys_and_tokens_stay() -> None:
    computing = {"LD_PRELOAD": "/usr/lib/libblas.so.3", "OPENBLAS_NUM_THREADS": "1"}
    assert allowed(computing) == computing
    environ = {"PATH": "/bin", "LC_ALL": "C", "MLXD_SERVER__API_KEY": "k", "HF_TOKEN": "t"}
    assert allowed(environ | {"AWS_SECRET_ACCESS_KEY": "s"}) == {"PATH": "/bin", "LC_ALL": "C"}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (3, "exited with status 3"),
        (-signal.SIGKILL, "was killed by SIGKILL"),
        (-40, "was killed by signal 40"),
    ],
)
def test_how_a_process_ended(status: int, told: str) -> None:
    assert ending(status) == told


async def test_an_engine_gets_no_secrets_and_no_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLXD_SERVER__API_KEY", "secret-key")
    monkeypatch.setenv("HF_TOKEN", "secret-token")
    with (tmp_path / "of the daemon").open("w"):
        engine = await EngineProcess.spawn((sys.executable, "-c", SHOW))
        output = " ".join((await engine.exited).output)
    assert "HF_HUB_OFFLINE" in output
    assert "HF_MODULES_CACHE" in output
    for secret in ("API_KEY", "HF_TOKEN", "of the daemon"):
        assert secret not in output


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="a Mac has no such signals")
async def test_an_engine_that_a_real_time_signal_ends() -> None:
    kill = "import os; os.kill(os.getpid(), 40)"
    engine = await EngineProcess.spawn((sys.executable, "-c", kill))
    async with asyncio.timeout(20):
        assert (await engine.exited).cause == "the engine process was killed by signal 40"
