"""The options of serving.py."""

import argparse
import compileall
from collections.abc import Callable
from pathlib import Path

import models

SERVERS = ("bare", "mlx_lm", "mlxd")
IN_ROUNDS = ("throughput", "join", "second-turn")
USUAL = (*IN_ROUNDS, "start", "idle", "status", "kill")
LONG = ("follow-ups", "history", "long-prompt", "memory", "kv-bits", "dialects", "scraping")
_FULL_SIZE = {
    "joiners": 10,
    "turns": 3,
    "starts": 5,
    "idle_seconds": 10,
    "status_runs": 20,
    "kills": 5,
    "long_tokens": 6000,
    "conversations": 32,
    "conversation_tokens": 7000,
    "kv_streams": 32,
}
_QUICK = dict.fromkeys(_FULL_SIZE, 1) | {
    "long_tokens": 1500,
    "conversations": 4,
    "conversation_tokens": 1500,
    "kv_streams": 4,
}


def parse(description: str, arguments: list[str] | None) -> argparse.Namespace:
    """Return the options; without `arguments`, those of the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", default="tiny", help="a model folder, or the random one (tiny)")
    parser.add_argument("--streams", type=_counts, default=[1, 8, 32], help="1,8,32")
    parser.add_argument("--tokens", type=_positive, default=400, help="a stream (400)")
    parser.add_argument("--rounds", type=_positive, default=5, help="each with every server (5)")
    parser.add_argument(
        "--servers", type=_names(SERVERS), default=list(SERVERS), help=",".join(SERVERS)
    )
    parser.add_argument(
        "--only",
        type=_names((*USUAL, *LONG)),
        help=f"{','.join(USUAL)} (these without --everything), {','.join(LONG)}",
    )
    parser.add_argument(
        "--architectures",
        type=_names(tuple(models.architectures()), everything="all"),
        help="random models for follow-ups and history: names like gpt_oss,llama, or all",
    )
    parser.add_argument("--before", type=_checkout, help="another checkout of mlxd to compare with")
    parser.add_argument(
        "--peers", action="store_true", help="install and measure vllm-mlx and rapid-mlx, too"
    )
    parser.add_argument("--everything", action="store_true", help="all scenarios, with --peers")
    parser.add_argument("--json", type=Path, help="write the tables to this file too")
    parser.add_argument(
        "--write", action="store_true", help="write the tables into benchmarks/README.md"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test: every figure is rough")
    parser.set_defaults(**_FULL_SIZE)
    options = parser.parse_args(arguments)
    if options.everything:
        options.peers = True
        options.only = options.only or [*USUAL, *LONG]
    options.only = options.only or list(USUAL)
    if options.quick:
        options.streams, options.tokens, options.rounds = [1, 8], 40, 1
        vars(options).update(_QUICK)
    return options


def _names(allowed: tuple[str, ...], everything: str = "") -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = list(allowed) if text == everything else text.split(",")
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
