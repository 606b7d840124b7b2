"""Key-value caches of earlier prompts, kept in memory for prompts with the same prefix."""

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import LRUPromptCache, can_trim_prompt_cache, trim_prompt_cache

_MAX_SEQUENCES = 1024
MODEL = "model"


class PromptCache:
    """A token trie of key-value caches, `max_bytes` in all at most; 0 disables it.

    A draft model has a trie of its own, under another name than `MODEL`.
    """

    def __init__(self, max_bytes: int) -> None:
        self.enabled = max_bytes > 0
        self._caches = LRUPromptCache(_MAX_SEQUENCES, max_bytes)

    def fetch(self, tokens: list[int], of: str = MODEL) -> tuple[list[Any] | None, int]:
        """Return a copy of the cache with the longest prefix of `tokens`, and the prefix's length.

        At least the last token is left to compute: generation starts from its output.
        """
        if not self.enabled:
            return None, 0
        cache, rest = self._caches.fetch_nearest_cache(of, tokens)
        if cache is None:
            return None, 0
        if rest:
            return cache, len(tokens) - len(rest)
        if len(tokens) > 1 and can_trim_prompt_cache(cache):
            trim_prompt_cache(cache, 1)
            return cache, len(tokens) - 1
        return None, 0

    def keep(self, tokens: list[int], cache: list[Any], of: str = MODEL) -> None:
        """Keep `cache`, which covers exactly `tokens`, in place of the least recently used ones."""
        if self.enabled:
            # An unevaluated slice of a batch keeps the memory of the whole batch alive.
            mx.eval([layer.state for layer in cache])
            self._caches.insert_cache(of, tokens, cache)
