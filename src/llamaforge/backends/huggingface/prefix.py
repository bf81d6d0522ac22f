"""What the model has read already: the cache of the last answer, for a prompt that begins as that one did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers.cache_utils import DynamicCache, DynamicLayer

# A shorter beginning is read again faster than it is looked after.
_WORTH = 16


class Prefix:
    """One cache of keys and values with its tokens. For one thread at a time.

    A conversation that goes on, or a second question about a long text, is then read from where it differs.
    """

    def __init__(self) -> None:
        self._tokens: Sequence[int] = ()
        self._cache: Any = None

    def take(self, prompt: Sequence[int]) -> tuple[Any, int]:
        """The cache, cut to the beginning that it shares with `prompt`, and that beginning's length; (None, 0) without one.

        The last token of a prompt is always left to be read, for what comes after it.
        """
        cache, self._cache = self._cache, None
        if cache is None:
            return None, 0
        held = cache.get_seq_length()
        most = min(held, len(prompt) - 1)
        shared = next((place for place in range(most) if self._tokens[place] != prompt[place]), most)
        if shared < _WORTH:
            return None, 0
        cache.crop(shared - held)
        return cache, shared

    def keep(self, tokens: Sequence[int], cache: Any) -> None:
        """Remember `cache`, which holds the first of `tokens` if it is of a kind that can be cut."""
        if type(cache) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in cache.layers):
            return
        self._tokens = tokens
        self._cache = cache
