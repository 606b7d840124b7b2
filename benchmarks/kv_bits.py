"""A quantized KV cache (`engine.kv_bits`): throughput and memory beside the plain one."""

import statistics

from bench import Bench
from client import BenchmarkError, Client
from models import Model
from processes import PeakMemory, tree_bytes
from prompts import Prompts
from report import Row, Tables
from scenarios import Session
from servers import Daemon

_BITS = (None, 8, 4)
_PROMPT_TOKENS = 500
_MODEL = {"head_dim": 64, "num_key_value_heads": 4}  # groups of 32 or 64 values must fit a head
_MEGABYTE = 1e6


def measure(bench: Bench) -> Tables:
    """Run streams with each kind of cache, in turns."""
    model = bench.random_model("llama", **_MODEL)
    rows: list[Row] = []
    for name, daemon in bench.daemons.items():
        try:
            rows += _rows(bench, name, daemon, model)
        except BenchmarkError as error:
            if "kv_bits" not in str(error):
                raise
            bench.leave_out(f"kv-bits: {name} has no engine.kv_bits")
    streams = bench.options.kv_streams
    title = f"quantized KV cache: {streams} streams, prompts of {_PROMPT_TOKENS} tokens"
    return {title: rows} if rows else {}


def _rows(bench: Bench, name: str, daemon: Daemon, model: Model) -> list[Row]:
    rates: dict[int | None, list[float]] = {bits: [] for bits in _BITS}
    grown: dict[int | None, list[float]] = {bits: [] for bits in _BITS}
    for number in range(bench.options.rounds):
        for bits in reversed(_BITS):  # a daemon without the key says so at once
            bench.progress(f"kv-bits: {name}, {bits or 'plain'}, {number + 1}")
            settings = {"engine.kv_bits": str(bits)} if bits else {}
            with daemon(model, settings=settings) as server, Client(server.port) as client:
                session = Session(client, model)
                prompts = Prompts(model.path)
                texts = [prompts.take(_PROMPT_TOKENS) for _ in range(bench.options.kv_streams)]
                ready = tree_bytes(server.pid)
                with PeakMemory(server.pid) as peak:
                    rates[bits].append(session.throughput(texts, bench.options.tokens).rate)
                grown[bits].append((peak.bytes - ready) / _MEGABYTE)
    plain_rate, plain_memory = statistics.median(rates[None]), statistics.median(grown[None])
    return [
        {
            "kv_bits": str(bits or "plain"),
            "server": name,
            "tok/s": statistics.median(rates[bits]),
            "tok/s / plain": statistics.median(rates[bits]) / plain_rate,
            "memory over ready MB": statistics.median(grown[bits]),
            "memory / plain": statistics.median(grown[bits]) / plain_memory,
        }
        for bits in _BITS
    ]
