"""What is measured: each function runs one scenario once and returns its samples.

Times are in seconds, memory in bytes.
"""

import contextlib
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import models
import servers
from prompts import Prompts

from mlxctl.bench.client import StreamingClient
from mlxctl.bench.runs import CHAT, TEXT, Run, together
from mlxctl.bench.streams import Stream, TimedReply
from mlxctl.errors import BenchmarkError

CAN_READ_IDLE = Path("/proc/self/status").exists()
_PROMPT_TOKENS = 48
_WARM_UP_STREAMS, _WARM_UP_TOKENS = 4, 32
_JOINED_STREAMS, _JOINED_TOKENS, _JOINER_TOKENS = 8, 3000, 8
_JOIN_PAUSE_SECONDS = 0.5
_HISTORY_TOKENS, _TURN_TOKENS = 2000, 32
_LOAD_TOKENS = 4
_SETTLE_SECONDS = 3.0


class Session:
    """One running server, warmed up, with a client and the prompts that all servers get."""

    def __init__(self, client: StreamingClient, model: models.Model) -> None:
        self._client = client
        self._model = model
        self._prompts = Prompts(model.path)
        self._chance = random.Random(0)
        starting = [
            self._start(self._prompts.take(_PROMPT_TOKENS), _WARM_UP_TOKENS)
            for _ in range(_WARM_UP_STREAMS)
        ]
        client.wait(starting)
        for stream in starting:
            stream.reply()

    def throughput(self, batch: list[str], tokens: int) -> Run:
        """Run one stream a prompt of `batch`, all begun at once, to `tokens` tokens each."""
        return together(
            self._client,
            lambda text: self._start(text, tokens),
            batch,
            tokens=tokens if self._model.tiny else None,
        )

    def join(self, joiners: int) -> list[float]:
        """Time to first token of each of `joiners` requests that join eight running streams.

        They come one after another, at random moments of whatever rhythm the server has.
        """
        room = self._model.context_length - 2 * _PROMPT_TOKENS
        running = [
            self._start(self._prompts.take(_PROMPT_TOKENS), min(_JOINED_TOKENS, room))
            for _ in range(_JOINED_STREAMS)
        ]
        while not all(stream.reply_so_far().text_times for stream in running):
            self._client.read_for(0.1)
        samples = []
        for _ in range(joiners):
            self._client.read_for(self._chance.uniform(0, _JOIN_PAUSE_SECONDS))
            joiner = self._start(self._prompts.take(_PROMPT_TOKENS), _JOINER_TOKENS)
            self._client.wait([joiner])
            if any(stream.ended for stream in running):
                raise BenchmarkError("a running stream ended before the last joiner did")
            samples.append(self._whole_reply(joiner, _JOINER_TOKENS).text_times[0])
        self._client.abandon(running)
        return samples

    def second_turn(self, turns: int) -> list[tuple[float, float]]:
        """Time to first token of a first turn of about 2,000 tokens and of the turn after it.

        Each of the `turns` conversations is new to the server.
        """
        samples = []
        for _ in range(turns):
            history = [{"role": "user", "content": self._prompts.take(_HISTORY_TOKENS)}]
            cold = self._chat(history)
            history += [
                {"role": "assistant", "content": cold.text},
                {"role": "user", "content": "And then?"},
            ]
            samples.append((cold.text_times[0], self._chat(history).text_times[0]))
        return samples

    def _start(self, text: str, tokens: int) -> Stream:
        return self._client.start(TEXT, {"prompt": text, "max_tokens": tokens})

    def _chat(self, messages: list[dict[str, str]]) -> TimedReply:
        body: dict[str, object] = {"messages": messages, "max_tokens": _TURN_TOKENS}
        stream = self._client.start(CHAT, body)
        self._client.wait([stream])
        return self._whole_reply(stream, _TURN_TOKENS)

    def _whole_reply(self, stream: Stream, tokens: int) -> TimedReply:
        """The tiny model never ends by itself; a real one may, and then it does for all servers."""
        return stream.reply(tokens=tokens if self._model.tiny else None)


def batches(model: models.Model, streams: list[int]) -> list[list[str]]:
    """The prompts of the throughput scenario, one batch for each number of streams."""
    prompts = Prompts(model.path)
    return [[prompts.take(_PROMPT_TOKENS) for _ in range(count)] for count in streams]


def bare_throughput(model: models.Model, texts: list[list[str]], tokens: int) -> list[Run]:
    """The same batches in the bare loop."""
    runs = []
    for rows in servers.run_bare_loop(model, texts, tokens):
        times = [row["text_times"] for row in rows]
        runs.append(
            Run(
                [row["prompt_tokens"] for row in rows],
                [row["completion_tokens"] for row in rows],
                times,
                max(row[-1] for row in times),
            )
        )
    return runs


@dataclass(frozen=True)
class Idle:
    """A server without a model and without requests."""

    resident_bytes: int
    peak_bytes: int
    wakeups_per_second: float


def idle(start: servers.Start, seconds: float) -> Idle:
    """Memory of an idle server without a model, and how often its threads wake in `seconds`.

    It reads /proc, so it needs CAN_READ_IDLE.
    """
    with start(None) as server:
        time.sleep(_SETTLE_SECONDS)
        before = _switches(server.pid)
        time.sleep(seconds)
        switches = _switches(server.pid) - before
        status = _status(Path(f"/proc/{server.pid}"))
    return Idle(
        int(status["VmRSS"].split()[0]) * 1024,
        int(status["VmHWM"].split()[0]) * 1024,
        switches / seconds,
    )


def start_to_health(start: servers.Start) -> float:
    """The time from starting the process, without a model, to its first good /health."""
    with start(None) as server:
        return server.start_seconds


def mlxctl_status(runs: int) -> list[float]:
    """Wall time of `mlxctl status` against a running daemon."""
    samples = []
    with servers.mlxd(None) as server:
        for _ in range(runs):
            began = time.perf_counter()
            server.mlxctl("status")
            samples.append(time.perf_counter() - began)
    return samples


def kill_engine(model: models.Model) -> tuple[float, float]:
    """The time to an answer that must load the model first, and to the next after a `kill -9`."""
    with servers.mlxd(model, default=False) as server, server.client() as client:
        prompts = Prompts(model.path)
        load = _answer(client, model, prompts.take(_PROMPT_TOKENS))
        time.sleep(_SETTLE_SECONDS / 3)
        os.kill(_engine_pid(server), signal.SIGKILL)
        return load, _answer(client, model, prompts.take(_PROMPT_TOKENS))


def _answer(client: StreamingClient, model: models.Model, text: str) -> float:
    began = time.perf_counter()
    body = {"model": model.path.name, "prompt": text, "max_tokens": _LOAD_TOKENS}
    stream = client.start(TEXT, body)
    client.wait([stream])
    took = time.perf_counter() - began
    stream.reply()
    return took


def _engine_pid(server: servers.Server) -> int:
    pids = server.engine_pids()
    if len(pids) != 1:
        raise BenchmarkError(f"expected one engine, `mlxctl status --json` names {pids}")
    return pids[0]


def _status(process: Path) -> dict[str, str]:
    lines = (process / "status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _switches(pid: int) -> int:
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += int(_status(thread)["voluntary_ctxt_switches"])
    return total
