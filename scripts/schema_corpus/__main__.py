"""Write schemas as generators make them, and check answers that follow their grammars.

    python -m scripts.schema_corpus write FILE [--count 2000] [--seed 1]
    python -m scripts.schema_corpus check FILE [--answers 3]

Needs `pip install --group schema-corpus` and, for Zod, `npm install` in scripts/schema_corpus.
`check` exits with 1 if a schema is refused, or an answer does not meet what is held of its schema.
"""

import argparse
import collections
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def main() -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m scripts.schema_corpus", description=__doc__)
    parser.add_argument("command", choices=["write", "check"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--answers", type=int, default=3)
    options = parser.parse_args()
    if options.command == "check":
        return check(options.file, options.answers)
    with options.file.open("w") as file:
        for line in written(options.count, options.seed):
            print(json.dumps(line, ensure_ascii=False), file=file)
    return 0


def written(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield `count` schemas, a third of each kind of generator."""
    from scripts.schema_corpus.python_schemas import openapi_schemas, pydantic_schemas

    third = count // 3
    yield from pydantic_schemas(count - 2 * third, seed)
    yield from openapi_schemas(third, seed + 1)
    command = ["node", FOLDER / "zod_schemas.mjs", str(third), str(seed + 2)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    yield from map(json.loads, done.stdout.splitlines())


def check(file: Path, answers: int) -> int:
    """Check every schema of a file, print what was found, and return the exit status."""
    from mlx_lm.utils import load_tokenizer

    from mlxd.engine.structured_output import Grammars
    from mlxd.errors import InvalidRequest
    from scripts.schema_corpus.sampler import Sampler, UnfinishedAnswer
    from scripts.schema_corpus.validation import error_of
    from scripts.tiny_model import VOCAB_SIZE, make_tiny_model

    counts: collections.Counter[str] = collections.Counter()
    keywords: collections.Counter[str] = collections.Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        make_tiny_model(Path(folder))
        grammars = Grammars(load_tokenizer(Path(folder)), VOCAB_SIZE)
        sampler = Sampler(grammars, VOCAB_SIZE)
        for number, line in enumerate(file.read_text().splitlines()):
            source, schema = (entry := json.loads(line))["source"], entry["schema"]
            counts["schemas"] += 1
            began = time.perf_counter()
            try:
                sampler.hold(schema, lenient=True)
                began = time.perf_counter()
                matcher, overlooked = sampler.hold(schema)
            except InvalidRequest as error:
                counts["refused"] += 1
                print(f"{number} {source}: refused: {error}")
                continue
            slowest = max(slowest, time.perf_counter() - began)
            counts["with something overlooked"] += bool(overlooked)
            keywords.update({each.keyword for each in overlooked})
            for seed in range(answers):
                counts["answers"] += 1
                try:
                    answer = sampler.answer(matcher, seed)
                except UnfinishedAnswer as error:
                    counts["unfinished"] += 1
                    print(f"{number} {source}: unfinished: {error}")
                    continue
                if reason := error_of(answer, schema, overlooked, source):
                    counts["wrong"] += 1
                    print(f"{number} {source}: {reason}\n    {answer[:300]}")
    print(dict(counts), f"slowest to compile: {slowest * 1000:.0f} ms")
    print("overlooked:", dict(keywords.most_common()))
    return 1 if counts["refused"] or counts["wrong"] or counts["unfinished"] else 0


if __name__ == "__main__":
    sys.exit(main())
