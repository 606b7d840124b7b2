"""What a validator of the whole standard says of an answer."""

import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import jsonschema
import regex
from jsonschema.validators import extend, validator_for

from mlxd.messages import Overlooked
from scripts.schema_corpus.relaxed import is_draft_4, relaxed


class WrittenFloat(float):
    """A float that remembers all of its digits."""

    text: str

    def __new__(cls, text: str) -> "WrittenFloat":
        """Read a float."""
        made = super().__new__(cls, text)
        made.text = text
        return made


def error_of(
    answer: str, schema: dict[str, Any], overlooked: list[Overlooked], source: str
) -> str | None:
    """Return why an answer does not meet a schema without what was overlooked, None if it does."""
    value = json.loads(answer, parse_float=WrittenFloat)
    held = relaxed(schema, overlooked, source)
    kind = validator_for(held, default=jsonschema.Draft202012Validator)
    if is_draft_4(schema, source):
        kind = jsonschema.Draft4Validator
    own = {
        "multipleOf": _multiple_of,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
    }
    validator = extend(kind, own)(held, format_checker=kind.FORMAT_CHECKER)
    error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    return error and f"{error.json_path}: {error.message[:300]} ({list(error.schema_path)})"


def _multiple_of(
    _: Any, factor: float, value: Any, __: Any
) -> Iterator[jsonschema.ValidationError]:
    """Compare decimal digits, which floats do not have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if Fraction(getattr(value, "text", str(value))) % Fraction(str(factor)):
        yield jsonschema.ValidationError(f"{value} is not a multiple of {factor}")


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[jsonschema.ValidationError]:
    """Know `\\p{…}`, which Python's own module does not."""
    if isinstance(value, str) and not regex.search(pattern, value):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: dict[str, Any], value: Any, _: Any
) -> Iterator[jsonschema.ValidationError]:
    for pattern, schema in patterns.items() if isinstance(value, dict) else ():
        for name, inner in value.items():
            if regex.search(pattern, name):
                yield from validator.descend(inner, schema, path=name, schema_path=pattern)
