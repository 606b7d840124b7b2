"""Prompts that are distinct within one server's life and equal for every server."""

import itertools
import random
import string
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

_WORDS = (
    *("river", "stone", "window", "garden", "paper", "morning", "bridge", "silver", "engine"),
    *("letter", "winter", "market", "circle", "shadow", "kitchen", "travel", "summer", "doctor"),
    *("planet", "number", "table", "music", "forest", "island"),
)
_SAMPLE_CHARACTERS = 4000


class Prompts:
    """Returns one text after another, in the same order for every server.

    Each text begins with another character, so that no prompt cache finds a prefix to share.
    """

    def __init__(self, model: Path) -> None:
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self._random = random.Random(0)
        self._firsts: Iterator[str] = itertools.cycle(string.ascii_letters + string.digits)
        sample = self._words(_SAMPLE_CHARACTERS)
        self._characters_per_token = len(sample) / len(tokenizer.encode(sample).ids)

    def take(self, tokens: int) -> str:
        """Return the next text, of about `tokens` tokens."""
        size = max(2, round(tokens * self._characters_per_token))
        return f"{next(self._firsts)} {self._words(size - 2)}"

    def _words(self, size: int) -> str:
        text = ""
        while len(text) < size:
            text += self._random.choice(_WORDS) + " "
        return text[:size]
