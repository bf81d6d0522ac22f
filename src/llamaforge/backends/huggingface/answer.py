"""One answer: from its tokens to text, whole or in pieces, plain or in OpenAI's shapes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from llamaforge.backends.huggingface.options import Form, Settings
from llamaforge.backends.huggingface.text import Cutter, Detokenizer
from llamaforge.backends.huggingface.tool_calls import CallReader, Part
from llamaforge.formats import completions

if TYPE_CHECKING:
    from llamaforge.backends.huggingface.engine import Engine


class Answer:
    """Written once, by one of its methods. Afterwards `reason` and `usage` tell how it ended."""

    def __init__(
        self,
        engine: Engine,
        prompt: Sequence[int],
        settings: Settings,
        *,
        form: Form | None = None,
        continues: bool = False,
        reads_calls: bool = False,
        single_call: bool = False,
    ) -> None:
        """form: what the answer is held to. continues: its text goes on from the prompt's, as to spaces. single_call: it
        ends with a first tool call.

        Raises ContextLengthError where the prompt leaves no room for an answer; ParameterError, UnsupportedError for the form.
        """
        room = engine.room(prompt)
        wanted = settings.max_tokens
        self._limit = min(limit for limit in (room, wanted, 2**31) if limit is not None)
        self._mask = None if form is None else engine.mask(form)
        self._engine = engine
        self._prompt = prompt
        self._settings = settings
        self._continues = continues
        self._reads_calls = reads_calls
        self._single_call = single_call
        self._written = 0
        self._cached = 0
        self.reason = "length"

    def usage(self) -> dict[str, Any]:
        """Tokens read and written so far, in OpenAI's shape."""
        return completions.usage_of(len(self._prompt), self._written, self._cached)

    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces())

    def pieces(self) -> Generator[str, None, None]:
        """The answer's text as it comes, never empty pieces. Closing the iterator ends the generation."""
        engine = self._engine
        before = self._prompt[-_BEFORE:] if self._continues else ()
        text = Detokenizer(engine.model.bare_tokenizer, engine.hidden, before)
        cutter = Cutter(self._settings.stop)
        with closing(self._tokens()) as tokens:
            for token in tokens:
                self._written += 1
                if token in engine.model.ends:
                    self.reason = "stop"
                    break
                piece = cutter.feed(text.step(token))
                if piece:
                    yield piece
                if cutter.found is not None:
                    self.reason = "stop"
                    return
        piece = cutter.feed(text.rest()) + cutter.rest()
        if cutter.found is not None:
            self.reason = "stop"
        if piece:
            yield piece

    def _tokens(self) -> Generator[int, None, None]:
        if self._settings.num_beams > 1 and self._limit > 0:
            yield from self._engine.beams(self._prompt, self._settings, self._limit)
        elif self._limit > 0:
            yield from self._engine.tokens(self._prompt, self._settings, self._limit, self._note_cached, self._mask)

    def _note_cached(self, tokens: int) -> None:
        self._cached = tokens

    def parts(self) -> Generator[Part, None, None]:
        """Text and tool calls as they come."""
        with closing(self.pieces()) as pieces:
            if not self._reads_calls:
                yield from pieces
                return
            reader = CallReader()
            called = False
            for piece in pieces:
                for part in reader.feed(piece):
                    called = called or isinstance(part, dict)
                    yield part
                    if called and self._single_call:
                        self.reason = "tool_calls"
                        return
            for part in reader.rest():
                called = called or isinstance(part, dict)
                yield part
            if called:
                self.reason = "tool_calls"

    def text_chunks(self, model: str) -> Generator[dict[str, Any], None, None]:
        """As the chunks of an OpenAI completion."""
        return completions.text_chunks(self.pieces(), model, reason=lambda: self.reason, usage=self.usage)

    def chat_chunks(self, model: str) -> Generator[dict[str, Any], None, None]:
        """As the chunks of an OpenAI chat completion."""
        return completions.chat_chunks(self._deltas(), model, reason=lambda: self.reason, usage=self.usage)

    def _deltas(self) -> Generator[str | dict[str, Any], None, None]:
        with closing(self.parts()) as parts:
            for part in parts:
                yield part if isinstance(part, str) else {"tool_calls": [part]}


# Tokens of the prompt that the detokenizer sees; more than any character has.
_BEFORE = 8
