"""Constraints over the tokens of the tiny marked model: a token is a byte, or a mark."""

import json
from pathlib import Path

from mlxd.engine.masks import mask
from mlxd.engine.structured_output import Constraint

VOCABULARY = 263
END_TOKENS = {256, 258}


def allowed(constraint: Constraint) -> set[int]:
    """Return the tokens that may come next."""
    (row,) = mask([constraint], VOCABULARY).tolist()  # type: ignore[misc]
    return {token for token, may_come in enumerate(row) if may_come}


def write(constraint: Constraint, text: str) -> None:
    """Take a text, each byte of which has to be allowed."""
    for byte in text.encode():
        assert byte in allowed(constraint), f"{chr(byte)!r} of {text!r}"
        constraint.accept(byte)


def add_long_tokens(model: Path) -> None:
    """Add tokens of up to 32 equal characters to a tiny model, as large vocabularies have them.

    No text is read as one of them.
    """
    file = model / "tokenizer.json"
    content = json.loads(file.read_text())
    vocabulary: dict[str, int] = content["model"]["vocab"]
    new = max([*vocabulary.values(), *(token["id"] for token in content["added_tokens"])]) + 1
    for character in "a[":
        for length in range(2, 33):
            vocabulary[character * length] = new
            new += 1
    file.write_text(json.dumps(content))


def slow_grammar(after: int) -> str:
    """Return a Lark grammar that takes seconds for the mask after `after` letters from b to z."""
    ways = " | ".join(['"a" more'] * 900)
    return f'start: /[b-z]{{{after}}}/ more\nmore: {ways} | "a"'
