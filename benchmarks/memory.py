"""Memory under load: many long conversations at once with a small `models.memory_limit`.

Are all of them answered, how much memory do daemon and engines take at most, and how much of it is
left after some idle seconds? `mlx_lm server`, which has no such limit, gets the same conversations.
"""

import time

from bench import Bench
from models import Model
from processes import PeakMemory, tree_bytes
from prompts import Prompts
from report import Row, Tables
from servers import Server

from mlxctl.bench.client import StreamingClient
from mlxctl.errors import BenchmarkError

LIMIT = "300MB"
_ANSWER_TOKENS, _WARM_UP_TOKENS = 32, 48
_IDLE_SECONDS = 10.0
_TIMEOUT_SECONDS = 1800.0
_MEGABYTE = 1e6


def measure(bench: Bench) -> Tables:
    """Send the conversations to each server that is no peer, once."""
    rows: list[Row] = []
    for name, start in bench.own_starts.items():
        bench.progress(f"memory: {name}")
        daemon = bench.daemons.get(name)
        serving = (
            daemon(bench.model, settings={"models.memory_limit": LIMIT})
            if daemon
            else start(bench.model)
        )
        with serving as server:
            row: Row = {"server": name, "limit": LIMIT if daemon else "-"}
            rows.append(row | _load(bench, server))
    count, tokens = bench.options.conversations, bench.options.conversation_tokens
    return {f"memory: {count} conversations of {tokens:,} tokens at once": rows}


def _load(bench: Bench, server: Server) -> Row:
    prompts = Prompts(bench.model.path)
    with server.client() as client:
        _send(client, bench.model, [prompts.take(_WARM_UP_TOKENS)])
        ready = tree_bytes(server.pid)
        texts = [
            prompts.take(bench.options.conversation_tokens)
            for _ in range(bench.options.conversations)
        ]
        begun = time.perf_counter()
        with PeakMemory(server.pid) as peak:
            faults = _send(client, bench.model, texts)
        seconds = time.perf_counter() - begun
    for fault in sorted(set(faults)):
        bench.progress(f"memory: {faults.count(fault)} not answered: {fault[:200]}")
    time.sleep(_IDLE_SECONDS)
    return {
        "answered": f"{len(texts) - len(faults)} of {len(texts)}",
        "seconds": seconds,
        "ready MB": ready / _MEGABYTE,
        "peak MB": peak.bytes / _MEGABYTE,
        f"{_IDLE_SECONDS:.0f} s later MB": tree_bytes(server.pid) / _MEGABYTE,
    }


def _send(client: StreamingClient, model: Model, texts: list[str]) -> list[str]:
    """Send all texts at once; return what was wrong with those that got no answer."""
    streams = [
        client.start(
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": text}], "max_tokens": _ANSWER_TOKENS},
        )
        for text in texts
    ]
    client.wait(streams, timeout=_TIMEOUT_SECONDS)
    faults = []
    for stream in streams:
        try:
            stream.reply(tokens=_ANSWER_TOKENS if model.tiny else None)
        except BenchmarkError as error:
            faults.append(str(error))
    return faults
