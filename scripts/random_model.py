"""Write a small random model of any architecture that mlx-lm knows.

    python scripts/random_model.py DIR ARCHITECTURE [--seed N] [--context N] [--set KEY=JSON]…

`tests/architectures.json` has a configuration for each; `--set` changes a key of it. The tokenizer
and the chat template are those of the marked tiny model (`scripts/tiny_model.py`): a byte is a
token, and the template knows thoughts (`enable_thinking`). The other tokens are two letters each,
which a model may generate, but no text is encoded to. Greedy decoding gives printable text and does
not end an answer.
"""

import argparse
import copy
import itertools
import json
import string
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm import utils

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.tiny_model import EOS_ID, MARKS, SPECIAL_IDS, make_tiny_model

CONFIGURATIONS = Path(__file__).resolve().parent.parent / "tests" / "architectures.json"
_CONTEXT_KEYS = ("max_position_embeddings", "model_max_length")


def architectures() -> dict[str, dict[str, Any]]:
    """Return a small configuration for each architecture, by name."""
    configurations: dict[str, dict[str, Any]] = json.loads(CONFIGURATIONS.read_text("utf-8"))
    return configurations


def make_random_model(
    path: Path,
    name: str,
    *,
    seed: int = 0,
    context_length: int = 32768,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Write a model of the architecture `name` into the folder `path`, and return `path`.

    Equal seeds give equal weights; `context_length` is in tokens; `changes` are keys of the
    configuration with other values.

    Raises:
        KeyError: there is no such architecture.
    """
    config = copy.deepcopy(architectures()[name]) | (changes or {})
    for part in (config, config.get("text_config", {})):
        part |= {key: context_length for key in _CONTEXT_KEYS if key in part}
    config["eos_token_id"] = EOS_ID
    make_tiny_model(path, context_length=context_length, marked=True)
    widen_vocabulary(path / "tokenizer.json", config["vocab_size"])
    (path / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    mx.random.seed(seed)
    model_class, arguments_class = utils._get_classes(config)
    model = model_class(arguments_class.from_dict(copy.deepcopy(config)))
    weights = {
        path: _printable_only(array) if array.shape[:1] == (config["vocab_size"],) else array
        for path, array in tree_flatten(model.parameters())
    }
    mx.save_safetensors(str(path / "model.safetensors"), weights, metadata={"format": "mlx"})
    return path


def _printable_only(rows: mx.array) -> mx.array:
    """Clear the rows of an embedding or a head that stand for unprintable bytes and for marks.

    Their logits are 0, which is hardly ever the greatest.
    """
    ids = mx.arange(rows.shape[0])
    kept = ((ids >= 0x20) & (ids < 0x7F)) | (ids > max(SPECIAL_IDS.values()) + len(MARKS))
    return mx.where(kept.reshape(-1, *[1] * (rows.ndim - 1)), rows, 0)


def widen_vocabulary(path: Path, size: int) -> None:
    """Add two-letter tokens to a saved tokenizer until it has `size` of them."""
    tokenizer = json.loads(path.read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    # An added token keeps its id only if the vocabulary has it, too.
    vocabulary |= {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    used = set(vocabulary.values())
    free = [token_id for token_id in range(size) if token_id not in used]
    pairs = map("".join, itertools.product(string.ascii_letters, repeat=2))
    vocabulary |= dict(zip(pairs, free, strict=False))
    path.write_text(json.dumps(tokenizer), encoding="utf-8")


def _change(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    return key, json.loads(value)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="random_model", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("dir", type=Path, metavar="DIR", help="the folder to write")
    parser.add_argument("architecture", choices=sorted(architectures()), metavar="ARCHITECTURE")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (0)")
    parser.add_argument("--context", type=int, default=32768, help="in tokens (32768)")
    parser.add_argument("--set", type=_change, action="append", default=[], metavar="KEY=JSON")
    options = parser.parse_args(arguments)
    print(
        make_random_model(
            options.dir,
            options.architecture,
            seed=options.seed,
            context_length=options.context,
            changes=dict(options.set),
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
