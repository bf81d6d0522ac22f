"""An answer without the markers of chat templates, whole or while it is being written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from llamaforge.exceptions import ParameterError
from llamaforge.parameters import Parameter
from llamaforge.plugins.base import PostprocessingPlugin

# Markers of the common templates: ChatML and Llama 3 (with the role behind), Llama 2, Gemma, DeepSeek, BOS, EOS, padding.
_MARKERS = (
    r"<\|im_start\|>(?:(?:system|user|assistant|tool)\b)?",
    r"<\|start_header_id\|>(?:\w{1,20}<\|end_header_id\|>)?",
    r"<\|\w{1,30}\|>",
    r"<｜[^<>｜]{1,30}｜>",
    r"</?(?:s|unk|pad|bos|eos|start_of_turn|end_of_turn)>",
    r"\[/?(?:INST|PAD|BOS|EOS)\]",
    r"<</?SYS>>",
)
# The end of a text that may yet become one of them.
_UNFINISHED = re.compile(
    r"<\|im_start\|>\w{0,20}\Z|<\|start_header_id\|>\w{0,20}(?:<(?:\|\w{0,20}\|?)?)?\Z"
    r"|<\|?\w{0,30}\|?\Z|<｜?[^<>｜]{0,30}｜?\Z|</?\w{0,13}\Z|<</?\w{0,3}>?\Z|\[/?\w{0,4}\Z"
)
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*(?=\s|\Z)")
# How much of the end is held back for the caller's own patterns, whose longest match nobody knows. In characters.
_CUSTOM_TAIL = 64


class TextCleaner(PostprocessingPlugin):
    """Removes chat markers, BOS, EOS and padding tokens; what is left of a stream joins to what is left of the whole.

    Settings: trim_whitespace (True: at both ends of the answer, not of its pieces), remove_special_tokens (True),
    remove_incomplete_sentences (False), special_token_patterns (more regular expressions; in a stream a match of up to 64
    characters is found wherever it is cut).
    """

    name = "text_cleaner"
    description = "Removes chat markers and special tokens from answers."
    supports_streaming = True
    settings: ClassVar[tuple[Parameter, ...] | None] = (
        Parameter("trim_whitespace", "bool"),
        Parameter("remove_special_tokens", "bool"),
        Parameter("remove_incomplete_sentences", "bool"),
        Parameter("special_token_patterns", "texts", ("custom_token_patterns",)),
    )
    defaults: ClassVar[Mapping[str, Any]] = {
        "trim_whitespace": True,
        "remove_special_tokens": True,
        "remove_incomplete_sentences": False,
        "special_token_patterns": (),
    }

    def configure(self, config: Mapping[str, Any]) -> None:
        """Raises ParameterError, also for a pattern that is no regular expression."""
        before = self.config
        super().configure(config)
        custom = list(self.config["special_token_patterns"])
        try:
            own = [re.compile(pattern) for pattern in custom]
        except re.error as error:
            self.config = before
            raise ParameterError(f"'special_token_patterns' has a broken regular expression: {error}.") from error
        standard = [re.compile("|".join(_MARKERS))] if self.config["remove_special_tokens"] else []
        self._patterns = (*standard, *own)
        self._custom = bool(custom)

    def process(self, text: str) -> str:
        """`text`, cleaned."""
        return "".join(self.process_stream(iter([text])))

    def process_stream(self, pieces: Iterator[str]) -> Iterator[str]:
        """The same for an answer in pieces: what may be the beginning of a marker waits for its end."""
        cleaned = self._without_markers(pieces)
        if self.config["remove_incomplete_sentences"]:
            cleaned = _whole_sentences(cleaned)
        return _trimmed(cleaned) if self.config["trim_whitespace"] else cleaned

    def _without_markers(self, pieces: Iterator[str]) -> Iterator[str]:
        if not self._patterns:
            yield from pieces
            return
        pending = ""
        for piece in pieces:
            pending += piece
            cut = self._safe(pending)
            if cut:
                yield self._remove(pending[:cut])
                pending = pending[cut:]
        if pending:
            yield self._remove(pending)

    def _safe(self, text: str) -> int:
        """How many characters of `text` no later piece can change the meaning of."""
        unfinished = _UNFINISHED.search(text)
        cut = unfinished.start() if unfinished else len(text)
        if self._custom:
            cut = max(0, min(cut, len(text) - _CUSTOM_TAIL))
            for pattern in self._patterns:
                for match in pattern.finditer(text):
                    if match.start() < cut < match.end():
                        cut = match.start()
        return cut

    def _remove(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.sub("", text)
        return text


def _trimmed(pieces: Iterator[str]) -> Iterator[str]:
    """Without white space at both ends; that between pieces stays."""
    started, space = False, ""
    for piece in pieces:
        text = space + piece if started else piece.lstrip()
        if not text:
            continue
        started = True
        body = text.rstrip()
        space = text[len(body) :]
        if body:
            yield body


def _whole_sentences(pieces: Iterator[str]) -> Iterator[str]:
    """Up to the end of the last sentence; an answer without any sentence end stays whole."""
    pending, found = "", False
    for piece in pieces:
        pending += piece
        # The last character is left: whether "3." ends a sentence is known when the next one comes.
        ends = [match.end() for match in _SENTENCE_END.finditer(pending) if match.end() < len(pending)]
        if ends:
            found = True
            yield pending[: ends[-1]]
            pending = pending[ends[-1] :]
    last = [match.end() for match in _SENTENCE_END.finditer(pending)]
    if last:
        yield pending[: last[-1]]
    elif not found:
        yield pending
