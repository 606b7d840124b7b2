"""What happens to the daemon meanwhile: kills, switches, reloads, pulls, a full disk."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.fakes.hub import Break, FakeHub
from tests.soak.daemon import FILL, FREE
from tests.soak.mix import MODELS

PULLED = "acme/pulled"
_FULL_SECONDS = 4.0
_SMALL_VOLUME = 2_000_000_000
CAPACITY = 16
_CONFIGURATION: dict[str, object] = {
    "models.default": MODELS[0],
    "server.max_queue": CAPACITY,
    "server.read_timeout": "4s",
    "engine.decode_concurrency": 8,
    "engine.prompt_cache": "40MB",
    "engine.prompt_cache_disk": "60MB",
    "engine.max_crashes": 0,  # it is not the models that crash
    "responses.max_bytes": "5MB",
    "log.max_size": "100kB",
    "log.keep": 2,
}
_CHANGES: tuple[dict[str, object], ...] = (
    {},
    {"log.level": "debug"},
    {"server.max_queue": CAPACITY * 3 // 4},
    {"generation.temperature": 0.7},
    {"models.keep_alive": 3},
    {"models.max_loaded": 1},
    {"engine.decode_concurrency": 2},
)
_MISTAKES: tuple[dict[str, object], ...] = ({"server.max_queue": 0}, {"serber.port": 1})


def configure(home: Path, changes: dict[str, object] | None = None) -> None:
    """Write the configuration of a soak, with changes by key."""
    lines = {**_CONFIGURATION, **(changes or {})}.items()
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines)
    (home / "config.toml").write_text(text)


@dataclass
class Disturber:
    """Disturbs one daemon; `done` counts how often, `faults` says what went wrong."""

    pid: int
    home: Path
    local: httpx.AsyncClient
    hub: FakeHub
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    async def run(self, pause: float) -> None:
        """Disturb until cancelled, each way once in a round, about `pause` seconds apart."""
        ways: list[Callable[[], Awaitable[None]]] = [
            self._kill,
            self._use,
            self._reload,
            self._reload_a_mistake,
            self._pull,
            self._unload,
            self._fill_the_disk,
            self._kill,
            self._clear_the_cache,
        ]
        while True:
            self.chance.shuffle(ways)
            for way in ways:
                await asyncio.sleep(pause * self.chance.uniform(0.5, 1.5))
                await way()

    async def _kill(self) -> None:
        engines = await self._engines()
        if engines:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chance.choice(engines), signal.SIGKILL)
                self.done["engine killed"] += 1

    async def _engines(self) -> list[int]:
        status = (await self.local.get("/control/v1/status")).json()
        return [model["pid"] for model in status["models"] if model["pid"]]

    async def _use(self) -> None:
        await self._mlxctl("use", self.chance.choice(MODELS))
        self.done["default model switched"] += 1

    async def _unload(self) -> None:
        await self._mlxctl("unload", self.chance.choice(MODELS))
        self.done["model unloaded"] += 1

    async def _clear_the_cache(self) -> None:
        await self._mlxctl("cache", "clear")
        self.done["prompt cache cleared"] += 1

    async def _reload(self) -> None:
        configure(self.home, self.chance.choice(_CHANGES))
        os.kill(self.pid, signal.SIGHUP)
        self.done["configuration changed"] += 1

    async def _reload_a_mistake(self) -> None:
        configure(self.home, self.chance.choice(_MISTAKES))
        status, said = await self._mlxctl("reload", expected=78)
        if status == 0:
            self.faults.append(f"a configuration with a mistake was taken: {said}")
        configure(self.home)
        self.done["mistake in the configuration"] += 1

    async def _pull(self) -> None:
        """Pull a model, sometimes over a connection that breaks, and remove it."""
        if self.chance.random() < 0.5:
            self.hub.fails("model.safetensors", Break(self.chance.randrange(1, 200_000)))
        status, _ = await self._mlxctl("pull", PULLED)
        if status == 0:
            await self._mlxctl("rm", PULLED, "--yes")
        self.done["model pulled"] += 1

    async def _fill_the_disk(self) -> None:
        """Let nothing be written for a while; a small volume is filled, otherwise see `daemon`."""
        before = await self._engines()
        ballast = self.home / "ballast"
        try:
            if shutil.disk_usage(self.home).total < _SMALL_VOLUME:
                await asyncio.to_thread(_fill, ballast)
            else:
                os.kill(self.pid, FILL)
            await self._mlxctl("pull", PULLED)
            await self._mlxctl("use", self.chance.choice(MODELS))
            await asyncio.sleep(_FULL_SECONDS)
        finally:
            ballast.unlink(missing_ok=True)
            os.kill(self.pid, FREE)
        for engine in set(await self._engines()) - set(before):  # which keep the limit
            with contextlib.suppress(ProcessLookupError):
                os.kill(engine, signal.SIGKILL)
        self.done["disk full"] += 1

    async def _mlxctl(self, *arguments: str, expected: int = 0) -> tuple[int, str]:
        """Run mlxctl; it succeeds, or says in one line why not."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mlxctl", *arguments),
            env={**os.environ, "MLXD_HOME": str(self.home)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said = (await process.communicate())[0].decode()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        status = process.returncode or 0
        if status not in (0, 1, expected) or (status and "mlxctl: " not in said):
            self.faults.append(f"mlxctl {' '.join(arguments)}: exit status {status}: {said}")
        return status, said


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        for size in (1_000_000, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
