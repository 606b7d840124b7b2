"""`python -m tests.soak.sigterms [ROUNDS]`: SIGTERM to a loaded daemon, round after round.

Every request that was sent before the signal ends: nearly all with their answers, since the drain
timeout is never reached, and those that came too late with an error that says so.
"""

import asyncio
import random
import signal
import sys
import tempfile
from pathlib import Path

import psutil

from tests.soak.client import ANSWERED, EXPLAINED, Client, Outcome
from tests.soak.mix import CONTEXT, READ, Ask, draw
from tests.support.daemon_process import DaemonProcess, running_daemon
from tests.support.talkative_model import make_talkative_model

_CLIENTS = 12
_MODEL = "talk"
_ENVIRON = {
    "MLXD_SERVER__DRAIN_TIMEOUT": "600s",
    "MLXD_SERVER__MAX_QUEUE": "16",
    "MLXD_MODELS__DEFAULT": _MODEL,
    "MLXD_ENGINE__DECODE_CONCURRENCY": "4",
}


def one_round(home: Path, seed: str, clients: int = _CLIENTS) -> list[str]:
    """Start a daemon in an empty home, load it, end it; return what was wrong."""
    make_talkative_model(home / "models" / _MODEL, context_length=CONTEXT)
    with running_daemon(home, **_ENVIRON) as daemon:
        outcomes = asyncio.run(_load_and_end(daemon, random.Random(seed), clients))
        found = [f"{each.ask}: {each.kind} {each.what}" for each in outcomes if not _ended(each)]
        assert daemon.process is not None
        if status := daemon.process.returncode:
            found.append(f"exit status {status}: {daemon.log()}")
    if not any(each.kind == ANSWERED for each in outcomes):
        found.append("nothing was answered")
    return found


def _ended(outcome: Outcome) -> bool:
    refused = outcome.kind == EXPLAINED and outcome.what.startswith(("429 ", "503 "))
    return outcome.kind == ANSWERED or refused


async def _load_and_end(
    daemon: DaemonProcess, chance: random.Random, clients: int
) -> list[Outcome]:
    """Return the ends of all requests."""
    assert daemon.process is not None
    engines = psutil.Process(daemon.process.pid)
    outcomes: list[Outcome] = []
    signalled = asyncio.Event()
    answers = chance.randint(clients, 3 * clients)

    async def ask(number: int) -> None:
        own = random.Random(f"{chance.random()} {number}")
        client = Client(daemon.url, own)
        try:
            while not signalled.is_set():
                outcomes.append(await client.send(_drawn(own)))
                if len(outcomes) >= answers and not signalled.is_set():
                    signalled.set()
                    children.extend(engines.children(recursive=True))
                    daemon.process.send_signal(signal.SIGTERM)
                    await client.send(_drawn(own))  # too late: refused, if there still is somebody
        finally:
            await client.close()

    children: list[psutil.Process] = []
    await asyncio.gather(*(ask(number) for number in range(clients)))
    await asyncio.to_thread(daemon.process.wait, 60)
    _, alive = psutil.wait_procs(children, 10)
    assert not alive, f"outlive the daemon: {alive}"
    return outcomes


def _drawn(chance: random.Random) -> Ask:
    """Draw a request whose whole answer the client waits for on its connection."""
    while True:
        ask = draw(chance)
        if ask.manner == READ and ask.dialect != "background":
            ask.body["model"] = _MODEL
            return ask


def rounds(count: int, seed: str) -> list[str]:
    """Run so many rounds, and return what was wrong."""
    found: list[str] = []
    for number in range(count):
        with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
            wrong = one_round(Path(folder), f"{seed} {number}")
        print(
            f"SIGTERM {number + 1} of {count}: {'; '.join(wrong) or 'nothing was lost'}", flush=True
        )
        found += wrong
    return found


if __name__ == "__main__":
    sys.exit(1 if rounds(int(sys.argv[1]) if len(sys.argv) > 1 else 10, "sigterms") else 0)
