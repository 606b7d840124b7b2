"""Answers that a grammar allows, and what a validator of the whole standard says of them."""

import copy
import json
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import jsonschema
import numpy as np
import regex
from jsonschema.validators import extend, validator_for
from llguidance import LLMatcher
from llguidance.numpy import fill_next_token_bitmask

from mlxd.engine.structured_output import ANSWER, Grammars, Part
from mlxd.messages import Grammar, Overlooked

PARAM = "schema"
_ENDING = b'"]}'
_RARE = b"\\ \n\t"
_MOST_STEPS = 6000
_PATIENCE = 150
_LONG_EXPONENT = re.compile(rb"[eE][+-]?\d\d$")
_HINT = b"word-mid-post@aa.bb/cc:12 V3.a"
"""What patterns ask for, to end a string with one soon."""

_FOLLOWED_BY = {
    "if": ("then", "else"),
    "contains": ("minContains", "maxContains"),
    "items": ("prefixItems", "additionalItems"),
}


class UnfinishedAnswer(Exception):
    """The answer did not end."""


class WrittenFloat(float):
    """A float that remembers all of its digits."""

    text: str

    def __new__(cls, text: str) -> "WrittenFloat":
        """Read a float."""
        made = super().__new__(cls, text)
        made.text = text
        return made


class Sampler:
    """Writes random answers, one byte at a time, and prefers to end them."""

    def __init__(self, grammars: Grammars, vocabulary: int) -> None:
        self._grammars = grammars
        self._words = (vocabulary + 31) // 32
        self._weights = np.ones(vocabulary)
        self._weights[list(_ENDING)] = 40
        self._weights[list(_RARE)] = 0.05
        self._weights[ord(",")] = 8
        self._weights[128:256] = 0.2
        self._late = self._weights.copy()
        self._late[list(_ENDING)] = 1e6
        self._late[ord(",")] = 1e3
        self._late_in_string = self._weights.copy()
        self._late_in_string[list(b"]}")] = 1
        self._late_in_string[ord('"')] = 1e12

    def hold(
        self, schema: dict[str, Any], *, lenient: bool = False
    ) -> tuple[LLMatcher, list[Overlooked]]:
        """Return the grammar of a schema, and what it overlooks."""
        part = Part("answer", Grammar("json_schema", json.dumps(schema), PARAM), lenient)
        constraint = self._grammars.compile(ANSWER, [part])
        return constraint._matcher, list(constraint.overlooked)

    def answer(self, matcher: LLMatcher, seed: int) -> str:
        """Return a random text that a grammar allows, or raise UnfinishedAnswer."""
        matcher, chooser = matcher.deep_copy(), np.random.default_rng(seed)
        written = bytearray()
        bits = np.zeros((1, self._words), np.int32)
        in_string = False
        for step in range(_MOST_STEPS):
            if matcher.is_accepting() and (matcher.is_stopped() or chooser.random() < 0.5):
                return written.decode()
            fill_next_token_bitmask(matcher, bits)
            allowed = np.unpackbits(bits.view(np.uint8), bitorder="little")[:256].astype(bool)
            (tokens,) = allowed.nonzero()
            if not tokens.size:
                if matcher.is_accepting():
                    return written.decode()
                raise UnfinishedAnswer(
                    f"nothing may follow {bytes(written[-40:])!r}: {matcher.get_error()}"
                )
            weights = self._weights
            if step > _PATIENCE:
                weights = self._late
                if in_string:
                    weights = self._late_in_string.copy()
                    weights[_HINT[step % len(_HINT)]] = 1e6
            weights = weights[tokens].copy()
            if not in_string and _LONG_EXPONENT.search(written):  # no float holds such a number
                weights[np.isin(tokens, list(b"0123456789"))] = 0
            token = int(chooser.choice(tokens, p=weights / weights.sum()))
            if not matcher.consume_token(token):
                raise UnfinishedAnswer(matcher.get_error())
            written.append(token)
            if token == ord('"') and not written[:-1].endswith(b"\\"):
                in_string = not in_string
        raise UnfinishedAnswer(f"{len(written)} bytes: {bytes(written[-40:])!r}")


def error_of(
    answer: str, schema: dict[str, Any], overlooked: list[Overlooked], source: str
) -> str | None:
    """Return why an answer does not meet a schema without what was overlooked, None if it does."""
    value = json.loads(answer, parse_float=WrittenFloat)
    relaxed = _standard(_without(schema, overlooked))
    if source == "openapi-3.0" or source.endswith(("openapi-3.0", "openApi3")):
        kind = jsonschema.Draft4Validator
    else:
        kind = validator_for(relaxed, default=jsonschema.Draft202012Validator)
        if kind is not jsonschema.Draft4Validator:
            relaxed = _with_number_bounds(relaxed)
    kind = extend(
        kind,
        {"multipleOf": _multiple_of, "pattern": _pattern, "patternProperties": _pattern_properties},
    )
    checker = kind.FORMAT_CHECKER
    error = jsonschema.exceptions.best_match(
        kind(relaxed, format_checker=checker).iter_errors(value)
    )
    return (
        None
        if error is None
        else f"{error.json_path}: {error.message[:300]} ({list(error.schema_path)})"
    )


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


def _without(schema: dict[str, Any], overlooked: list[Overlooked]) -> dict[str, Any]:
    relaxed = copy.deepcopy(schema)
    places = dict(_places(relaxed, ""))
    for each in overlooked:
        path = each.param.removeprefix(PARAM).removesuffix(
            f".{each.keyword}" if each.keyword else ""
        )
        holder = places[path]
        if each.keyword == "oneOf" and "several" in each.reason:
            holder["anyOf"] = holder.pop("oneOf", True)
        elif each.keyword:
            holder.pop(each.keyword, None)
    return relaxed


def _places(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _places(inner, f"{path}[{place}]")


def _with_number_bounds(value: Any) -> Any:
    """Write the exclusive bounds of draft 4, which some generators mix in, as later drafts do."""
    if isinstance(value, list):
        return [_with_number_bounds(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    schema = {key: _with_number_bounds(inner) for key, inner in value.items()}
    for bound in ("Minimum", "Maximum"):
        if schema.get(f"exclusive{bound}") is True:
            schema[f"exclusive{bound}"] = schema.pop(bound.lower())
    return schema


def _standard(value: Any) -> Any:
    """Write OpenAPI's `nullable` as the standard does."""
    if isinstance(value, list):
        return [_standard(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    schema = {key: _standard(inner) for key, inner in value.items()}
    if schema.get("nullable") is True:
        del schema["nullable"]
        return {"anyOf": [schema, {"type": "null"}]}
    return schema
