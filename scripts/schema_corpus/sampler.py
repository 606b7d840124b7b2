"""Random answers that a grammar allows."""

import json
import re
from typing import Any

import numpy as np
from llguidance import LLMatcher
from llguidance.numpy import fill_next_token_bitmask

from mlxd.engine.structured_output import ANSWER, Grammars, Part
from mlxd.generate_request import Grammar
from mlxd.messages import Overlooked

PARAM = "schema"
_ENDING = b'"]}'
_RARE = b"\\ \n\t"
_MOST_STEPS = 6000
_PATIENCE = 150
_LONG_EXPONENT = re.compile(rb"[eE][+-]?\d\d$")
_HINT = b"word-mid-post@aa.bb/cc:12 V3.a"
"""What patterns ask for, to end a string with one soon."""


class UnfinishedAnswer(Exception):
    """The answer did not end."""


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
        return constraint._timed.matcher, list(constraint.overlooked)

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
