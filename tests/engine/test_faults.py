"""How real engines end when something goes wrong, as the daemon sees it."""

import asyncio
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import pytest

from mlxd.errors import EngineDied, LoadFailed
from mlxd.generate_request import GenerateRequest, Sampling, TextPrompt, TokensPrompt
from mlxd.messages import Load, Ping, Ready
from mlxd.pool.engine_process import ENGINE_COMMAND, EngineCrashed, EngineProcess
from tests.support.engine_process import DEADLINE, engine_process
from tests.support.pool import collect, start_engine

pytestmark = pytest.mark.slow

FAKE_DAEMON = Path(__file__).parent.parent / "fakes" / "daemon.py"
ENDLESS = GenerateRequest(TextPrompt("go"), None, Sampling())
ABORT = """
def abort(self):
    os.write(2, b"-[MTLCommandBuffer] failed assertion\\n")
    ctypes.CDLL(None).abort()
"""
RAISE = """
def abort(self):
    raise RuntimeError("[METAL] Command buffer execution failed")
"""


@asynccontextmanager
async def running(model: Path, fault: str = "") -> AsyncIterator[EngineProcess]:
    """Run an engine; each of its steps is the function `abort` of `fault`, if that is given."""
    command = list(ENGINE_COMMAND)
    if fault:
        lines = [
            "import ctypes, os",
            "from mlxd.engine.__main__ import main",
            "from mlxd.engine.batch import Batch",
            fault,
            "Batch.step = abort",
            "main()",
        ]
        command = [sys.executable, "-P", "-c", "\n".join(lines)]
    async with asyncio.timeout(DEADLINE):
        engine = await start_engine("it", Load(str(model)), lambda _: None, command)
        try:
            yield engine
        finally:
            await engine.stop(grace=0)


async def end_of(engine: EngineProcess, *requests: GenerateRequest) -> str:
    """Send requests that end the engine, and return the error they get."""
    with pytest.raises(EngineDied) as caught:
        await collect(engine.link.generate(requests or [ENDLESS]))
    return caught.value.message


async def test_a_killed_engine_fails_its_requests(tiny_model: Path) -> None:
    async with running(tiny_model) as engine:
        request = engine.link.generate([ENDLESS])
        await request.next_events()
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineDied, match="killed by SIGKILL"):
            await collect(request)


async def test_the_output_of_an_abort_in_native_code_says_what_and_where(
    tiny_model: Path,
) -> None:
    async with running(tiny_model, ABORT) as engine:
        assert "killed by SIGABRT" in await end_of(engine)
        output = (await engine.exited).output
        assert "-[MTLCommandBuffer] failed assertion" in output
        assert any("in abort" in line for line in output)


async def test_an_exception_in_a_step_is_reported_and_its_traceback_kept(tiny_model: Path) -> None:
    async with running(tiny_model, RAISE) as engine:
        expected = "RuntimeError: [METAL] Command buffer execution failed"
        assert await end_of(engine) == expected
        assert (await engine.exited).output[-1] == expected


needs_prlimit = pytest.mark.skipif(sys.platform != "linux", reason="limits another process")


@needs_prlimit
@pytest.mark.parametrize("megabytes", [1, 20, 100])
async def test_a_step_without_memory_ends_the_engine_and_does_not_hang(
    tiny_model: Path, megabytes: int
) -> None:
    async with running(tiny_model) as engine:
        _leave_only(engine.pid, megabytes)
        prompts = [TokensPrompt([65 + row] * 4000) for row in range(8)]
        await end_of(engine, *[GenerateRequest(prompt, 3, Sampling()) for prompt in prompts])
        assert await engine.exited


@needs_prlimit
@pytest.mark.parametrize("megabytes", [1, 100])  # at 30 MLX's threads get no stack: it may hang
async def test_a_load_without_memory_fails_and_does_not_hang(smollm2: Path, megabytes: int) -> None:
    async with asyncio.timeout(DEADLINE):
        engine = await EngineProcess.spawn()
        await engine.link.ping(DEADLINE)  # by then it has imported everything
        _leave_only(engine.pid, megabytes)
        with pytest.raises((LoadFailed, EngineCrashed)):
            await engine.load("it", Load(str(smollm2)), lambda _: None)
        assert engine.exited.done()


@pytest.mark.parametrize("sent", [b"", b"\x00\x00\x00\x01\xc1"], ids=["reset", "garbage"])
def test_an_idle_engine_ends_when_its_socket_and_output_are_closed(
    tiny_model: Path, sent: bytes
) -> None:
    output, its_output = socket.socketpair()
    with output, its_output, engine_process(its_output) as engine:
        engine.send(Load(str(tiny_model)))
        engine.receive_until(Ready)
        engine.send(Ping())
        select.select([engine.connection], [], [], DEADLINE)  # its Pong, which stays unread
        output.close()
        engine.connection.sendall(sent)
        engine.connection.close()
        assert engine.process.wait(DEADLINE) in (0, 1)


@pytest.mark.parametrize("moment", ["Hello", "Warm", "LoadProgress", "Ready", "Started"])
def test_an_engine_does_not_outlive_its_daemon(smollm2: Path, moment: str) -> None:
    # Warm is when it waits for a model; after Started it reads a prompt, in one step of minutes.
    models = [] if moment == "Warm" else [str(smollm2)]
    command = [sys.executable, str(FAKE_DAEMON), *models]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as daemon:
        assert daemon.stdout is not None
        engine = int(daemon.stdout.readline())
        while daemon.stdout.readline().decode().strip() != moment:
            assert daemon.poll() is None
        daemon.kill()
        try:
            assert _ends(daemon.stdout, 2)  # when the engine, which writes to it too, has ended
        except AssertionError:
            os.kill(engine, signal.SIGKILL)
            raise


def _ends(output: IO[bytes], seconds: float) -> bool:
    """Whether `output` is at its end within so many seconds."""
    deadline = time.monotonic() + seconds
    while select.select([output], [], [], max(0, deadline - time.monotonic()))[0]:
        if not output.read(65536):
            return True
    return False


def _leave_only(pid: int, megabytes: int) -> None:
    """Limit a process to so much memory beyond what it has."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    size = next(int(line.split()[1]) for line in status if line.startswith("VmSize"))
    limit = size * 1024 + megabytes * 1024 * 1024
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
