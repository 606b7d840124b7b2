"""Reports of benchmarks, as if two servers had been measured."""

from mlxctl.bench.figures import (
    BenchReport,
    Comparison,
    MeasuredMemory,
    MeasuredServer,
    PromptReuse,
    Throughput,
)


def throughput(server: str, streams: int, first: float, rate: float) -> Throughput:
    return Throughput(
        server=server,
        prompt=1024,
        streams=streams,
        rounds=3,
        prompt_tokens=1026,
        answer_tokens=128,
        first_token_s=first,
        first_token_max_s=2 * first,
        prompt_tokens_per_second=2048.0,
        stream_tokens_per_second=rate / streams,
        tokens_per_second=rate,
    )


def reuse(server: str, state: str, first: float, cached: int | None) -> PromptReuse:
    return PromptReuse(
        server=server,
        prompt=1024,
        state=state,
        rounds=3,
        first_token_s=first,
        prompt_tokens=1040,
        cached_tokens=cached,
    )


def report(*, against: bool = True) -> BenchReport:
    rows = [throughput("mlxd", 1, 0.5, 50.0), throughput("mlxd", 8, 1.25, 200.0)]
    cache = [reuse("mlxd", "cold", 0.5, 0), reuse("mlxd", "warm", 0.0042, 1024)]
    cache.append(reuse("mlxd", "disk", 0.0801, 1024))
    found = BenchReport(
        at=1.8e9,
        seconds=41.3,
        machine="Apple M4 Max, 16 cores, 64 GB",
        version="0.1.0",
        model="qwen3-8b",
        api="/v1/completions",
        answer_tokens=128,
        servers=[MeasuredServer(name="mlxd", url="unix:///run/mlxd.sock", model="qwen3-8b")],
        throughput=rows,
        prompt_cache=cache,
        memory=MeasuredMemory(
            ready_bytes=5_000_000_000,
            peak_bytes=6_000_000_000,
            prompt_cache_bytes=500_000_000,
            limit_bytes=48_000_000_000,
        ),
        left_out=["8 streams with prompts of 4,096 tokens: no time for them"],
    )
    if against:
        other = "localhost:8000"
        found.servers.append(MeasuredServer(name=other, url=f"http://{other}", model="q8"))
        rows.insert(1, throughput(other, 1, 0.6, 55.0))
        rows.append(throughput(other, 8, 2.5, 100.0))
        cache.append(reuse(other, "cold", 0.6, None))
        found.against = [
            Comparison(prompt=1024, streams=1, first_token=1.2, tokens_per_second=0.91),
            Comparison(prompt=1024, streams=8, first_token=2.0, tokens_per_second=2.0),
        ]
    return found
