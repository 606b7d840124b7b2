"""What was computed for earlier prompts, kept in memory for prompts that begin alike."""

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import LRUPromptCache, can_trim_prompt_cache, trim_prompt_cache

_MAX_SEQUENCES = 1024
MODEL = "model"


class PromptCache:
    """A token trie of key-value caches, at most `max_bytes` in all; 0 keeps none.

    A draft model has a trie of its own, under another name than `MODEL`.
    """

    def __init__(self, max_bytes: int) -> None:
        self.enabled = max_bytes > 0
        self._caches = LRUPromptCache(_MAX_SEQUENCES, max_bytes)

    def fetch(self, tokens: list[int], of: str = MODEL) -> tuple[list[Any] | None, int]:
        """Give a copy of the cache that covers most of `tokens`, and how many tokens it covers.

        At least the last token is left to compute, as its output is what generation starts from.
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
        """Keep `cache`, which covers exactly `tokens`, making room by dropping the oldest."""
        if self.enabled:
            # A slice of a batch that is not evaluated keeps the whole batch's memory alive.
            mx.eval([layer.state for layer in cache])
            self._caches.insert_cache(of, tokens, cache)
