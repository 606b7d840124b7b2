"""Serving, side by side: `mlx_lm server` as it ships, `mlxd`, and the bare BatchGenerator loop.

    python benchmarks/serving.py [--model PATH|tiny] [--streams 1,8,32] [--tokens 400] [--rounds 5]
                                 [--servers bare,mlx_lm,mlxd] [--only throughput,join,...]
                                 [--before DIR] [--json FILE] [--quick]

Each server runs alone; the servers take turns in every round, so that a drift of the machine meets
all of them. benchmarks/README.md says what each scenario measures.
"""

import argparse
import compileall
import functools
import importlib.metadata
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import report
import scenarios
import servers
from client import BenchmarkError, Client

_SERVERS = ("bare", "mlx_lm", "mlxd")
_STARTS: dict[str, servers.Start] = {"mlx_lm": servers.mlx_lm_server, "mlxd": servers.mlxd}
_IN_ROUNDS = ("throughput", "join", "second-turn")
_SCENARIOS = (*_IN_ROUNDS, "start", "idle", "status", "kill")

Tables = dict[str, list[report.Row]]


class Benchmark:
    """One run of the chosen scenarios."""

    def __init__(self, options: argparse.Namespace, model: servers.Model) -> None:
        self._options = options
        self._model = model
        self._starts = {name: _STARTS[name] for name in options.servers if name in _STARTS}
        if options.before is not None:
            self._starts["before"] = functools.partial(servers.mlxd, checkout=options.before)

    def run(self) -> Iterator[Tables]:
        """Measure; yield tables by name as they become ready."""
        only, options = set(self._options.only), self._options
        if only & set(_IN_ROUNDS):
            yield self._rounds()
        if "start" in only and self._starts:
            yield {"start": report.start(self._each(scenarios.start_to_health, options.starts))}
        if "idle" in only and self._starts and not scenarios.CAN_READ_IDLE:
            _progress("idle is left out: this system has no /proc")
        elif "idle" in only and self._starts:
            samples = {
                name: scenarios.idle(start, options.idle_seconds)
                for name, start in self._starts.items()
            }
            yield {"idle": report.idle(samples)}
        if "status" in only and "mlxd" in self._starts:
            yield {"status": report.status(scenarios.mlxctl_status(options.status_runs))}
        if "kill" in only and "mlxd" in self._starts:
            kills = [scenarios.kill_engine(self._model) for _ in range(options.kills)]
            yield {"kill": report.kill(kills)}

    @property
    def _names(self) -> list[str]:
        return [*self._options.servers, *(["before"] if self._options.before else [])]

    def _rounds(self) -> Tables:
        options = self._options
        texts = scenarios.batches(self._model, options.streams)
        runs: dict[str, dict[int, list[scenarios.Run]]] = {
            name: {count: [] for count in options.streams} for name in self._names
        }
        join: dict[str, list[float]] = {name: [] for name in self._starts}
        turns: dict[str, list[tuple[float, float]]] = {name: [] for name in self._starts}
        for number in range(options.rounds):
            for name in self._names:
                _progress(f"round {number + 1} of {options.rounds}: {name}")
                if name == "bare":
                    if "throughput" in options.only:
                        batches = scenarios.bare_throughput(self._model, texts, options.tokens)
                        for batch, run in zip(texts, batches, strict=True):
                            runs[name][len(batch)].append(run)
                    continue
                with self._starts[name](self._model) as server, Client(server.port) as client:
                    session = scenarios.Session(client, self._model)
                    if "throughput" in options.only:
                        for batch in texts:
                            run = session.throughput(batch, options.tokens)
                            runs[name][len(batch)].append(run)
                    if "join" in options.only:
                        join[name] += session.join(options.joiners)
                    if "second-turn" in options.only:
                        turns[name] += session.second_turn(options.turns)
        _check_equal_prompts(runs)
        tables = {}
        if "throughput" in options.only:
            tables["throughput"] = report.throughput(runs)
            tables["throughput ratios"] = report.throughput_ratios(runs)
        if "join" in options.only:
            tables["join"] = report.join(join)
        if "second-turn" in options.only:
            tables["second turn"] = report.second_turn(turns)
        return {name: rows for name, rows in tables.items() if rows}

    def _each(
        self, measure: Callable[[servers.Start], float], repetitions: int
    ) -> dict[str, list[float]]:
        samples: dict[str, list[float]] = {name: [] for name in self._starts}
        for _ in range(repetitions):
            for name, start in self._starts.items():
                samples[name].append(measure(start))
        return samples


def _check_equal_prompts(runs: dict[str, dict[int, list[scenarios.Run]]]) -> None:
    seen = {
        (streams, tuple(run.prompt_tokens)): name
        for name, by_streams in runs.items()
        for streams, own in by_streams.items()
        for run in own
    }
    if len(seen) != len({streams for streams, _ in seen}):
        raise BenchmarkError(f"the servers counted different prompt tokens: {seen}")


def _machine() -> dict[str, object]:
    return {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "load average": os.getloadavg(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("mlx", "mlx-lm", "mlxd")},
    }


def _names(allowed: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in allowed]:
            raise argparse.ArgumentTypeError(
                f"{unknown[0]!r} is none of {', '.join(allowed)} (comma-separated)"
            )
        return [name for name in allowed if name in names]

    return parse


def _counts(text: str) -> list[int]:
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = [0]
    if counts[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of positive numbers like 1,8,32")
    return counts


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def _checkout(text: str) -> Path:
    folder = Path(text).resolve()
    if not (folder / "mlxd" / "__main__.py").is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no checkout of mlxd")
    compileall.compile_dir(folder / "mlxd", quiet=2)
    return folder


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="tiny", help="a model folder, or the random one (tiny)")
    parser.add_argument("--streams", type=_counts, default=[1, 8, 32], help="1,8,32")
    parser.add_argument("--tokens", type=_positive, default=400, help="a stream (400)")
    parser.add_argument("--rounds", type=_positive, default=5, help="each with every server (5)")
    parser.add_argument(
        "--servers", type=_names(_SERVERS), default=list(_SERVERS), help=",".join(_SERVERS)
    )
    parser.add_argument(
        "--only", type=_names(_SCENARIOS), default=list(_SCENARIOS), help=",".join(_SCENARIOS)
    )
    parser.add_argument("--before", type=_checkout, help="another checkout of mlxd to compare with")
    parser.add_argument("--json", type=Path, help="write the tables to this file too")
    parser.add_argument("--quick", action="store_true", help="a smoke test: every figure is rough")
    repetitions = {
        "joiners": 10,
        "turns": 3,
        "starts": 5,
        "idle_seconds": 10,
        "status_runs": 20,
        "kills": 5,
    }
    parser.set_defaults(**repetitions)
    options = parser.parse_args(arguments)
    if options.quick:
        options.streams, options.tokens, options.rounds = [1, 8], 40, 1
        vars(options).update(dict.fromkeys(repetitions, 1))
    return options


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    options = _options(arguments)
    # SIGTERM must unwind the stack, where the servers are ended.
    signal.signal(signal.SIGTERM, _terminated)
    servers.compile_packages()
    tables: Tables = {}
    try:
        with tempfile.TemporaryDirectory(prefix="mb-") as folder:
            for part in Benchmark(
                options, servers.prepare_model(options.model, Path(folder))
            ).run():
                tables |= part
                for rows in part.values():
                    print(f"{report.table(rows)}\n", flush=True)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json is not None:
        result = {"machine": _machine(), "model": options.model, "tables": tables}
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
