"""Starting: from nothing to the first token, an engine, a spare engine and `mlx_lm server`.

    python benchmarks/starting.py [--model PATH|tiny] [--runs 10]

They take turns. An engine gets its `Load` as soon as it is spawned; a spare one when it has
imported everything and waits, and its time is measured from then. benchmarks/README.md says more.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import models
import report
import servers

from mlxctl.errors import BenchmarkError
from mlxd.frames import FrameSplitter, decode_engine_frame, encode_frame
from mlxd.generate_request import GenerateRequest, Sampling, TextPrompt
from mlxd.messages import Delta, EngineMessage, Fatal, Generate, Hello, Load, Ready, Warm
from mlxd.pool.engine_process import ENGINE_COMMAND

_PROMPT, _TOKENS = "The capital of France is", 4
_MOMENTS: dict[type[EngineMessage], str] = {
    Hello: "hello",
    Warm: "imported",
    Ready: "ready",
    Delta: "first token",
}
_RECEIVE_BYTES = 65536

Sample = dict[str, float]
"""Seconds to each moment; `processor` is the processor time in all, the others are megabytes."""


async def _engine(model: models.Model, *, spare: bool) -> Sample:
    before = _children_processor_seconds()
    begun = time.perf_counter()
    connection, its_connection = socket.socketpair()
    connection.setblocking(False)
    with its_connection:
        process = await asyncio.create_subprocess_exec(
            *ENGINE_COMMAND, stdin=its_connection, stdout=subprocess.DEVNULL
        )
    loop = asyncio.get_running_loop()
    splitter, sample = FrameSplitter(), Sample()
    load = encode_frame([Load(str(model.path))])
    if not spare:
        await loop.sock_sendall(connection, load)
    with connection:
        while "first token" not in sample:
            if not (data := await loop.sock_recv(connection, _RECEIVE_BYTES)):
                raise BenchmarkError("the engine ended")
            now = time.perf_counter() - begun
            for payload in splitter.feed(data):
                for message in decode_engine_frame(payload):
                    if (moment := _MOMENTS.get(type(message))) is not None:
                        sample.setdefault(moment, now)
                    match message:
                        case Warm():
                            sample["MB imported"] = message.memory_bytes / 1e6
                            if spare:
                                begun = time.perf_counter()
                                await loop.sock_sendall(connection, load)
                        case Ready():
                            sample["MB ready"] = message.memory_bytes / 1e6
                            request = GenerateRequest(TextPrompt(_PROMPT), _TOKENS, Sampling())
                            await loop.sock_sendall(
                                connection, encode_frame([Generate(1, request)])
                            )
                        case Fatal():
                            raise BenchmarkError(message.message)
    await process.wait()
    sample["processor"] = _children_processor_seconds() - before
    return sample


def _server(start: servers.Start, model: models.Model) -> Sample:
    with start(model) as server:
        begun = time.perf_counter()
        with server.client() as client:
            body = {"prompt": _PROMPT, "max_tokens": _TOKENS}
            stream = client.start("/v1/completions", body)
            connecting = time.perf_counter() - begun
            client.wait([stream])
            first = stream.reply().text_times[0]
    return {"first token": server.start_seconds + connecting + first}


def _children_processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _phases(model: models.Model) -> dict[str, tuple[float, float]]:
    script = Path(__file__).with_name("load_phases.py")
    command = [sys.executable, "-P", str(script), str(model.path)]
    done = subprocess.run(command, capture_output=True, check=True)
    return json.loads(done.stdout)


def _measure(model: models.Model, runs: int) -> None:
    samples: dict[str, list[Sample]] = {}
    phases: list[dict[str, tuple[float, float]]] = []
    for number in range(runs):
        print(f"run {number + 1} of {runs}", file=sys.stderr, flush=True)
        samples.setdefault("engine", []).append(asyncio.run(_engine(model, spare=False)))
        samples.setdefault("spare engine", []).append(asyncio.run(_engine(model, spare=True)))
        samples.setdefault("mlxd", []).append(_server(servers.mlxd, model))
        samples.setdefault("mlx_lm server", []).append(_server(servers.mlx_lm_server, model))
        phases.append(_phases(model))
    print(report.table(_moments(samples)), end="\n\n")
    print(report.table(_inside(phases)))


def _moments(samples: dict[str, list[Sample]]) -> list[report.Row]:
    theirs = statistics.median(sample["first token"] for sample in samples["mlx_lm server"])
    rows: list[report.Row] = []
    for name, own in samples.items():
        row: report.Row = {"from the start of": name}
        for moment in (*_MOMENTS.values(), "processor"):
            known = [sample[moment] for sample in own if moment in sample]
            of_the_load = not (name == "spare engine" and moment in ("hello", "imported"))
            row[f"{moment} ms"] = 1000 * statistics.median(known) if known and of_the_load else "-"
        for memory in ("MB imported", "MB ready"):
            known = [sample[memory] for sample in own if memory in sample]
            row[memory] = statistics.median(known) if known else "-"
        ours = statistics.median(sample["first token"] for sample in own)
        row["mlx_lm / this"] = theirs / ours
        rows.append(row)
    return rows


def _inside(phases: list[dict[str, tuple[float, float]]]) -> list[report.Row]:
    return [
        {
            "one after the other": name,
            "wall ms": 1000 * statistics.median(sample[name][0] for sample in phases),
            "processor ms": 1000 * statistics.median(sample[name][1] for sample in phases),
        }
        for name in phases[0]
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="tiny", help="a model folder, or the random one (tiny)")
    parser.add_argument("--runs", type=int, default=10, help="of each (10)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # unwinding ends the servers
    servers.compile_packages()
    try:
        with tempfile.TemporaryDirectory(prefix="mb-") as folder:
            model = models.prepare_model(options.model, Path(folder))
            os.environ.update(model.environment())
            _measure(model, options.runs)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
