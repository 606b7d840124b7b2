"""Prompts of random words, each of them new to a server, so that no prompt cache helps."""

import itertools
import random
import string
from collections.abc import Iterator

_WORDS = (
    *("river", "stone", "window", "garden", "paper", "morning", "bridge", "silver", "engine"),
    *("letter", "winter", "market", "circle", "shadow", "kitchen", "travel", "summer", "doctor"),
    *("planet", "number", "table", "music", "forest", "island"),
)


class RandomPrompts:
    """Returns one text after another: those of the same `seed` are equal; None has no seed.

    Each text begins with another character, so that no prompt cache finds a prefix to share.
    """

    def __init__(self, seed: int | None) -> None:
        self.characters_per_token = 1.0
        self._random = random.Random(seed)  # noqa: S311  no secret
        self._firsts: Iterator[str] = itertools.cycle(string.ascii_letters + string.digits)

    def take(self, tokens: int) -> str:
        """Return the next text, of about `tokens` tokens."""
        size = max(2, round(tokens * self.characters_per_token))
        return f"{next(self._firsts)} {self.words(size - 2)}"

    def words(self, characters: int) -> str:
        """Return random words, the last of which may be cut."""
        text = ""
        while len(text) < characters:
            text += self._random.choice(_WORDS) + " "
        return text[:characters]
