"""A time limit for masks: for finding which tokens a grammar allows next.

A grammar of a few kilobytes can take seconds for one mask, while every other answer waits. The
parser's own limits count items, not time. So a grammar that may be slow computes its masks in
another thread. If that takes too long, the answer fails, and the thread ends by itself within
seconds, because of the parser's limits.
"""

import threading
import time
from collections.abc import Sequence

import numpy as np
from llguidance import LLMatcher, LLParserLimits
from llguidance.numpy import fill_next_token_bitmask
from numpy.typing import NDArray

from mlxd.engine.sandbox import Check, unchecked
from mlxd.generate_request import Grammar

MASK_SECONDS = 0.5
"""How long one mask may take."""
TOO_SLOW = f"it takes more than {MASK_SECONDS:g} s to find which tokens may come next"

_SUSPICIOUS_SECONDS = 0.02
_LOOK_SECONDS = 0.05
_SHORT = {"json_schema": 8192, "regex": 1024**2}
"""Characters, by kind, up to which a grammar's first mask is fast; a regex is one lexeme."""
_SHORT_OTHERS = 512
_TRIED_MASKS = 4
_MOST_ITEMS = 10_000
"""What a schema with 300 optional properties needs; each costs up to a millisecond."""


def parser_limits() -> LLParserLimits:
    """Return the limits of every grammar of a request."""
    return LLParserLimits(step_max_items=_MOST_ITEMS)


def may_be_slow(grammars: Sequence[Grammar]) -> bool:
    """Return whether one of the grammars is so large that even its first mask may take long."""
    return any(
        len(grammar.source) > _SHORT.get(grammar.kind, _SHORT_OTHERS) for grammar in grammars
    )


class TimedMatcher:
    """A matcher that gives up when a mask takes more than `MASK_SECONDS`."""

    def __init__(self, matcher: LLMatcher, *, may_be_slow: bool) -> None:
        """Take a matcher that nobody else uses; `may_be_slow` starts with a thread at once."""
        self.matcher = matcher
        self._is_watched = may_be_slow

    def fill(self, bits: NDArray[np.uint32], check: Check = unchecked) -> bool:
        """Set the bits of the tokens that may come next; False if that takes too long.

        After that, or if `check` raises meanwhile, the matcher must not be used any more.
        """
        if self._is_watched:
            return self._fill_watched(bits, check)
        began = time.perf_counter()
        fill_next_token_bitmask(self.matcher, bits[None].view(np.int32))
        took = time.perf_counter() - began
        self._is_watched = took > _SUSPICIOUS_SECONDS
        return took <= MASK_SECONDS

    def _fill_watched(self, bits: NDArray[np.uint32], check: Check) -> bool:
        found = np.zeros_like(bits)  # the thread may write to it for long
        done = threading.Event()

        def fill() -> None:
            fill_next_token_bitmask(self.matcher, found[None].view(np.int32))
            done.set()

        threading.Thread(target=fill, name="mask", daemon=True).start()
        deadline = time.monotonic() + MASK_SECONDS
        while not done.wait(_LOOK_SECONDS):
            if time.monotonic() >= deadline:
                return False
            check()
        bits[:] = found
        return True


def is_slow(matcher: LLMatcher, words: int, check: Check = unchecked) -> bool:
    """Return whether one of a grammar's first masks, of `words` 32-bit words, takes too long.

    It tries an answer that begins with the first allowed token each time. `check` is called
    meanwhile, and ends it by raising.
    """
    timed = TimedMatcher(matcher.deep_copy(), may_be_slow=True)
    bits = np.zeros(words, np.uint32)
    for _ in range(_TRIED_MASKS):
        if not timed.fill(bits, check):
            return True
        (tokens,) = np.unpackbits(bits.view(np.uint8), bitorder="little").nonzero()
        if timed.matcher.is_error() or timed.matcher.is_stopped() or not tokens.size:
            return False
        timed.matcher.consume_token(int(tokens[0]))
    return False
