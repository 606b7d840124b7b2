"""`python -m tests.soak`: keep a daemon at twice its capacity, disturb it, and see what it loses.

Every request must end with its answer or with an error that says why, and nothing may grow. The
exit status is 1 if something was wrong. The same seed draws the same requests and disturbances;
when they meet is up to the machine.
"""

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from mlxd.prompt_files import TEMPORARY  # which the next engine removes, when they are old
from scripts.tiny_model import make_tiny_model
from tests.fakes.hub import FakeHub, fake_hub
from tests.soak import sigterms, summary
from tests.soak.client import WRONG, Client, Outcome, wants_to_wait
from tests.soak.disturbances import CAPACITY, PULLED, Disturber, configure
from tests.soak.growth import Watch
from tests.soak.mix import CONTEXT, draw
from tests.support.daemon_process import DaemonProcess, running_daemon
from tests.support.talkative_model import make_talkative_model

_CLIENTS = 2 * CAPACITY
_DISTURBANCES = 9
_LONGEST_PAUSE = 6.0
_END_SECONDS = 120.0


@dataclass
class Soak:
    """One run against one daemon."""

    daemon: DaemonProcess
    hub: FakeHub
    temporary: Path
    seconds: float
    seed: str

    async def run(self) -> list[str]:
        """Show the tables, and return what was wrong."""
        process = self.daemon.process
        assert process is not None
        watch = Watch(process.pid, self.daemon.home, self.temporary)
        before = watch.look()
        outcomes: list[Outcome] = []
        over = asyncio.Event()
        transport = httpx.AsyncHTTPTransport(uds=str(self.daemon.socket))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", timeout=60
        ) as local:
            disturber = Disturber(
                process.pid,
                self.daemon.home,
                local,
                self.hub,
                random.Random(f"{self.seed} disturbances"),
            )
            pause = min(self.seconds / (_DISTURBANCES + 3), _LONGEST_PAUSE)
            background = [
                asyncio.create_task(watch.run()),
                asyncio.create_task(disturber.run(pause)),
            ]
            clients = [
                asyncio.create_task(self._ask(number, outcomes, over)) for number in range(_CLIENTS)
            ]
            await asyncio.wait(background, timeout=self.seconds, return_when="FIRST_COMPLETED")
            over.set()
            background[1].cancel()
            await asyncio.gather(*clients)
            background[0].cancel()
            ends = await asyncio.gather(*background, return_exceptions=True)
            found = [
                f"the soak itself failed: {end!r}"
                for end in ends
                if not isinstance(end, asyncio.CancelledError)
            ]
            found += disturber.faults
            found += await self._left_behind(local, watch, before.descriptors)
        growth = watch.growth()
        rotated = len(list((self.daemon.home / "logs").glob("mlxd.log.*")))
        if not rotated and self.seconds > _END_SECONDS:
            found.append("the log was not rotated")
        summary.show(outcomes, disturber.done, growth)
        return found + summary.faults(outcomes, growth)

    async def _ask(self, number: int, outcomes: list[Outcome], over: asyncio.Event) -> None:
        chance = random.Random(f"{self.seed} client {number}")
        client = Client(self.daemon.url, chance)
        try:
            while not over.is_set():
                outcome = await client.send(draw(chance))
                outcomes.append(outcome)
                if outcome.kind == WRONG:
                    print(f"{outcome.ask.dialect}: {outcome.what}", flush=True)
                if wants_to_wait(outcome):
                    await asyncio.sleep(chance.uniform(0.5, 1.5))
        finally:
            await client.close()

    async def _left_behind(
        self, local: httpx.AsyncClient, watch: Watch, descriptors: int
    ) -> list[str]:
        """Wait until nothing runs, unload the models, and return what stays nevertheless."""
        found = []
        try:
            async with asyncio.timeout(_END_SECONDS):
                while any(
                    model["requests"]
                    for model in (await local.get("/control/v1/status")).json()["models"]
                ):
                    await asyncio.sleep(0.1)
                await local.post("/control/v1/unload", json={})
                while (now := watch.look()).processes or now.descriptors > descriptors + 2:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            now = watch.look()
            status = (await local.get("/control/v1/status")).json()["models"]
            found.append(f"without requests and models there are still {now}: {status}")
        left = [file for file in watch.temporary_files() if not file.name.startswith(TEMPORARY)]
        found += [f"left behind: {file}" for file in left]
        return found


@contextmanager
def _daemon(home: Path, temporary: Path, hub: FakeHub) -> Iterator[DaemonProcess]:
    make_talkative_model(home / "models" / "talk", context_length=CONTEXT)
    make_tiny_model(home / "models" / "marked", context_length=CONTEXT, marked=True)
    folder = make_tiny_model(temporary / "pulled")
    hub.repos[PULLED].commit({file.name: file.read_bytes() for file in folder.iterdir()})
    shutil.rmtree(folder)
    configure(home)
    log = ("--log-file", str(home / "logs" / "mlxd.log"))
    environ = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "", "HF_HOME": str(home / "hf")}
    with running_daemon(home, *log, program=("-m", "tests.soak.daemon"), **environ) as daemon:
        yield daemon


@contextmanager
def _own_temporary_folder(folder: Path) -> Iterator[Path]:
    """Make `folder` the TMPDIR of the processes that are started meanwhile."""
    folder.mkdir()
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield folder
    finally:
        del os.environ["TMPDIR"]
        if before is not None:
            os.environ["TMPDIR"] = before


def main() -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument("--seed", default=None, help="of the requests; one is drawn and printed")
    parser.add_argument(
        "--sigterms", type=int, default=10, help="rounds of SIGTERM at the end (10)"
    )
    parser.add_argument("--home", type=Path, help="an empty folder, such as a small volume to fill")
    options = parser.parse_args()
    seed = options.seed or f"{random.SystemRandom().randrange(10**6)}"
    print(f"{options.minutes:g} minutes, --seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mlxd", dir=options.home) as folder, fake_hub() as hub:
        home = Path(folder)
        with (
            _own_temporary_folder(home / "tmp") as temporary,
            _daemon(home, temporary, hub) as daemon,
        ):
            soak = Soak(daemon, hub, temporary, options.minutes * 60, seed)
            found = asyncio.run(soak.run())
            if status := daemon.stop():
                found.append(f"the daemon ended with status {status}")
            found += [f"in the log: {line}" for line in daemon.log().splitlines() if line]
    found += sigterms.rounds(options.sigterms, seed)
    print("\n" + ("\n".join(f"WRONG: {line}" for line in found) or "nothing was wrong"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
