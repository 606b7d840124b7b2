"""Constraints over the tokens of the tiny marked model: a token is a byte, or a mark."""

from mlxd.engine.structured_output import Constraint, mask

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
