"""A quantized KV cache (`engine.kv_bits`): throughput and memory beside the plain one."""

import statistics
from typing import NamedTuple

from bench import Bench
from models import Model
from processes import PeakMemory, tree_bytes
from prompts import Prompts
from report import Row, Tables
from scenarios import Session
from servers import Daemon

from mlxctl.errors import BenchmarkError

_BITS = (None, 8, 4)
_PROMPT_TOKENS = 500
_MODEL = {"head_dim": 64, "num_key_value_heads": 4}  # groups of 32 or 64 values must fit a head
_MEGABYTE = 1e6


class _Sample(NamedTuple):
    """Tokens a second; memory beyond that of a ready engine at its peak and after the last text."""

    rate: float
    peak_bytes: float
    kept_bytes: float


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
    samples: dict[int | None, list[_Sample]] = {bits: [] for bits in _BITS}
    for number in range(bench.options.rounds):
        for bits in reversed(_BITS):  # a daemon without the key says so at once
            bench.progress(f"kv-bits: {name}, {bits or 'plain'}, {number + 1}")
            settings = {"engine.kv_bits": str(bits)} if bits else {}
            with daemon(model, settings=settings) as server, server.client() as client:
                session = Session(client, model)
                prompts = Prompts(model.path)
                texts = [prompts.take(_PROMPT_TOKENS) for _ in range(bench.options.kv_streams)]
                ready = tree_bytes(server.pid)
                with PeakMemory(server.pid) as peak:
                    rate = session.throughput(texts, bench.options.tokens).rate
                kept = tree_bytes(server.pid) - ready
            samples[bits].append(_Sample(rate, peak.bytes - ready, kept))
    medians = {bits: _median(own) for bits, own in samples.items()}
    plain = medians[None]
    return [
        {
            "kv_bits": str(bits or "plain"),
            "server": name,
            "tok/s": own.rate,
            "tok/s / plain": own.rate / plain.rate,
            "peak over ready MB": own.peak_bytes / _MEGABYTE,
            "peak / plain": own.peak_bytes / plain.peak_bytes,
            "kept after the last text MB": own.kept_bytes / _MEGABYTE,
            "kept / plain": own.kept_bytes / plain.kept_bytes,
        }
        for bits, own in medians.items()
    ]


def _median(samples: list[_Sample]) -> _Sample:
    return _Sample(*map(statistics.median, zip(*samples, strict=True)))
