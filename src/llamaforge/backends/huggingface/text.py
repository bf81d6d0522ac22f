"""From tokens to text: characters that are whole, and strings at which an answer ends."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# A character has at most 4 bytes: what is no text after so many tokens never will be.
_PATIENCE = 8
_UNFINISHED = 3


class Detokenizer:
    """Tokens as text, a piece with each token that completes a character."""

    def __init__(self, tokenizer: Tokenizer, hidden: Collection[int], before: Sequence[int] = ()) -> None:
        """hidden: tokens that are no text. before: the text's last tokens so far, which tell whether a space follows."""
        from tokenizers.decoders import DecodeStream  # noqa: PLC0415 -- comes with the engine

        self._tokenizer = tokenizer
        self._hidden = hidden
        self._stream_type = DecodeStream
        self._stream = DecodeStream(list(before), False)
        self._waiting: list[int] = []

    def step(self, token: int) -> str:
        """The text that `token` completes, if any."""
        if token in self._hidden:
            return ""
        self._waiting.append(token)
        text: str | None = self._stream.step(self._tokenizer, token)
        if text is not None:
            self._waiting.clear()
            return text
        if len(self._waiting) < _PATIENCE:
            return ""
        # The last tokens may still begin a character.
        broken, unfinished = self._waiting[:-_UNFINISHED], self._waiting[-_UNFINISHED:]
        shown: str = self._tokenizer.decode(broken, skip_special_tokens=False)
        self._stream, self._waiting = self._stream_type([], False), []
        return shown + "".join([self.step(token) for token in unfinished])

    def rest(self) -> str:
        """What waits for the end of its character, with signs in place of what is broken."""
        if not self._waiting:
            return ""
        text: str = self._tokenizer.decode(self._waiting, skip_special_tokens=False)
        self._waiting.clear()
        self._stream = self._stream_type([], False)
        return text


class Cutter:
    """Cuts a text that comes in pieces before the first of some strings, over the borders of pieces.

    Held back is only what may be the beginning of one of the strings.
    """

    def __init__(self, marks: Sequence[str]) -> None:
        self._marks = marks
        self._held = ""
        self.found: str | None = None
        self.after = ""

    def feed(self, text: str) -> str:
        """What is known to stand before any mark. Once one is `found`, what followed it is in `after`."""
        if not self._marks:
            return text
        text = self._held + text
        places = [(place, -len(mark), mark) for mark in self._marks if (place := text.find(mark)) >= 0]
        if places:
            place, _, mark = min(places)
            self.found, self.after, self._held = mark, text[place + len(mark) :], ""
            return text[:place]
        held = max(_overlap(text, mark) for mark in self._marks)
        keep = len(text) - held
        self._held = text[keep:]
        return text[:keep]

    def rest(self) -> str:
        """What was held back, at the end."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, mark: str) -> int:
    """The length of the longest end of `text` that begins `mark`."""
    for length in range(min(len(text), len(mark) - 1), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0
