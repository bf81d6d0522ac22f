"""The tokens of texts and chats, as a model by its name has them."""

from __future__ import annotations

from collections.abc import Sequence

from llamaforge.backends.base import Content, Parameters, Tools
from llamaforge.library import Library


class Tokens:
    """What `LlamaForge` says of tokens. Each method loads the model if need be, and raises UnsupportedError where it can't tell.

    content: a prompt, or messages. tools: those that the model is told of. model, load_parameters: as for a generation.
    """

    _library: Library

    def count_tokens(
        self,
        content: Content,
        *,
        tools: Tools = (),
        model: str | None = None,
        load_parameters: Parameters | None = None,
    ) -> int:
        """How many tokens `content` has, as the usage of an answer counts its prompt. Plugins change nothing of it."""
        with self._library.using(model, load_parameters) as loaded:
            return loaded.backend.count_tokens(content, tools)

    def tokenize(self, text: str, *, model: str | None = None) -> list[int]:
        """The tokens of a text by itself."""
        with self._library.using(model) as loaded:
            return loaded.backend.tokenize(text)

    def detokenize(self, tokens: Sequence[int], *, model: str | None = None) -> str:
        """The text of tokens. Raises ParameterError where they are none of the model's."""
        with self._library.using(model) as loaded:
            return loaded.backend.detokenize(tokens)

    async def acount_tokens(
        self,
        content: Content,
        *,
        tools: Tools = (),
        model: str | None = None,
        load_parameters: Parameters | None = None,
    ) -> int:
        """`count_tokens` in a thread."""
        async with self._library.ausing(model, load_parameters) as loaded:
            return await loaded.backend.acount_tokens(content, tools)

    async def atokenize(self, text: str, *, model: str | None = None) -> list[int]:
        """`tokenize` in a thread."""
        async with self._library.ausing(model) as loaded:
            return await loaded.backend.atokenize(text)

    async def adetokenize(self, tokens: Sequence[int], *, model: str | None = None) -> str:
        """`detokenize` in a thread."""
        async with self._library.ausing(model) as loaded:
            return await loaded.backend.adetokenize(tokens)
