"""Serving, side by side: `mlx_lm server` as it ships, `mlxd`, and the bare BatchGenerator loop.

    python benchmarks/serving.py [--model PATH|tiny] [--streams 1,8,32] [--tokens 400] [--rounds 5]
                                 [--servers bare,mlx_lm,mlxd] [--only throughput,join,...]
                                 [--before DIR] [--peers] [--everything] [--architectures a,b|all]
                                 [--json FILE] [--write] [--quick]

Each server runs alone; the servers take turns in every round, so that a drift of the machine meets
all of them. benchmarks/README.md says what each scenario measures.
"""

import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import dialects
import follow_ups
import history
import kv_bits
import long_prompt
import machine
import memory
import options
import peers
import report
import results
import scenarios
import scraping
import servers
from bench import Bench
from report import Tables

from mlxctl.bench.runs import Run
from mlxctl.errors import BenchmarkError


def run(bench: Bench) -> Iterator[Tables]:
    """Measure the chosen scenarios; yield tables by title as they become ready.

    A scenario that fails is left out, and the others go on.
    """
    measures: dict[str, Callable[[Bench], Tables]] = {
        "start": _start,
        "idle": _idle,
        "status": _status,
        "kill": _kill,
        "follow-ups": follow_ups.measure,
        "history": history.measure,
        "long-prompt": long_prompt.measure,
        "memory": memory.measure,
        "kv-bits": kv_bits.measure,
        "dialects": dialects.measure,
        "scraping": scraping.measure,
    }
    chosen = {name: measures[name] for name in bench.options.only if name in measures}
    if in_rounds := [name for name in bench.options.only if name in options.IN_ROUNDS]:
        chosen = {", ".join(in_rounds): _rounds} | chosen
    for name, measure in chosen.items():
        try:
            yield measure(bench)
        except BenchmarkError as error:
            bench.failed = True
            bench.leave_out(f"{name}: {error}")


def _start(bench: Bench) -> Tables:
    samples = {
        name: [scenarios.start_to_health(start) for _ in range(bench.options.starts)]
        for name, start in bench.own_starts.items()
    }
    return {"start": report.start(samples)}


def _idle(bench: Bench) -> Tables:
    if not scenarios.CAN_READ_IDLE:
        bench.leave_out("idle: this system has no /proc")
        return {}
    samples = {
        name: scenarios.idle(start, bench.options.idle_seconds)
        for name, start in bench.own_starts.items()
    }
    return {"idle": report.idle(samples)}


def _status(bench: Bench) -> Tables:
    if "mlxd" not in bench.starts:
        return {}
    return {"status": report.status(scenarios.mlxctl_status(bench.options.status_runs))}


def _kill(bench: Bench) -> Tables:
    if "mlxd" not in bench.starts:
        return {}
    kills = [scenarios.kill_engine(bench.model) for _ in range(bench.options.kills)]
    return {"kill": report.kill(kills)}


def _rounds(bench: Bench) -> Tables:
    chosen = bench.options
    texts = scenarios.batches(bench.model, chosen.streams)
    runs: dict[str, dict[int, list[Run]]] = {
        name: {count: [] for count in chosen.streams} for name in bench.names
    }
    join: dict[str, list[float]] = {name: [] for name in bench.starts}
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in bench.starts}
    for number in range(chosen.rounds):
        for name in bench.names:
            bench.progress(f"round {number + 1} of {chosen.rounds}: {name}")
            if name == "bare":
                if "throughput" in chosen.only:
                    batches = scenarios.bare_throughput(bench.model, texts, chosen.tokens)
                    for batch, run in zip(texts, batches, strict=True):
                        runs[name][len(batch)].append(run)
                continue
            with (
                bench.tolerate(name),
                bench.starts[name](bench.model) as server,
                server.client() as client,
            ):
                session = scenarios.Session(client, bench.model)
                if "throughput" in chosen.only:
                    for batch in texts:
                        runs[name][len(batch)].append(session.throughput(batch, chosen.tokens))
                if "join" in chosen.only:
                    join[name] += session.join(chosen.joiners)
                if "second-turn" in chosen.only:
                    turns[name] += session.second_turn(chosen.turns)
    runs = {name: runs[name] for name in bench.names}
    _check_equal_prompts(runs)
    tables = {}
    if "throughput" in chosen.only:
        tables["throughput"] = report.throughput(runs)
        tables["throughput ratios"] = report.throughput_ratios(runs)
    if "join" in chosen.only:
        tables["join"] = report.join({name: join[name] for name in bench.starts})
    if "second-turn" in chosen.only:
        tables["second turn"] = report.second_turn({name: turns[name] for name in bench.starts})
    return tables


def _check_equal_prompts(runs: dict[str, dict[int, list[Run]]]) -> None:
    seen = {
        (streams, tuple(run.prompt_tokens)): name
        for name, by_streams in runs.items()
        for streams, own in by_streams.items()
        for run in own
    }
    if len(seen) != len({streams for streams, _ in seen}):
        raise BenchmarkError(f"the servers counted different prompt tokens: {seen}")


def _commands(bench: Bench) -> list[list[str]]:
    """This command, and those of the servers."""
    commands = [[sys.executable, *sys.argv]]
    if "mlx_lm" in bench.starts:
        commands.append(servers.mlx_lm_command("MODEL", "PORT"))
    if bench.daemons:
        commands.append(servers.mlxd_command("MODEL", "PORT"))
    bin_folders = {name: peers.install(name) for name in peers.PEERS if name in bench.starts}
    return [
        *commands,
        *(peers.PEERS[name](folder, "MODEL", "PORT") for name, folder in bin_folders.items()),
    ]


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    chosen = options.parse((__doc__ or "").split("\n")[0], arguments)
    # SIGTERM must unwind the stack, where the servers are ended.
    signal.signal(signal.SIGTERM, _terminated)
    servers.compile_packages()
    tables: Tables = {}
    try:
        with tempfile.TemporaryDirectory(prefix="mb-") as folder:
            bench = Bench(chosen, Path(folder))
            facts = machine.describe(list(bench.starts), chosen.before)
            for part in run(bench):
                shown = {title: rows for title, rows in part.items() if rows}
                tables |= shown
                for title, rows in shown.items():
                    print(f"{title}\n\n{report.table(rows)}\n", flush=True)
        if chosen.json is not None:
            result = {"machine": facts, "model": chosen.model, "tables": tables}
            result["left out"] = bench.left_out
            chosen.json.write_text(json.dumps(result, indent=2) + "\n")
        if chosen.write:
            results.write(results.section(tables, facts, _commands(bench), bench.left_out))
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
