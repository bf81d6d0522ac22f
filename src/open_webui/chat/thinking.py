"""Thinking that local models write into their text, between tags at its start: told apart from the answer."""

from typing import Final

from llamaforge.events import Reasoning, Text
from llamaforge.events.parts import Growing

THINK_TAGS: Final[dict[str, str]] = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<reason>": "</reason>",
    "<reasoning>": "</reasoning>",
    "<thought>": "</thought>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
}
_CLOSING: Final = "</think>"
_LONGEST_TAG: Final = max(map(len, THINK_TAGS))


def may_close(before: Growing, piece: str) -> bool:
    """Whether a piece of a text ends the tag that closes thinking."""
    return _CLOSING in before.tail(len(_CLOSING)) + piece


def unopened(said: str) -> tuple[str, str] | None:
    """The thinking and the text that follows it, of words that only a closing tag parts: some templates have written the
    opening one into the prompt. None where there is none, or where it is talked about: not on a line of its own, or in code.
    """
    at = said.find(_CLOSING)
    before, after = said[:at], said[at + len(_CLOSING) :]
    if at < 0 or before.rstrip(" ")[-1:] not in {"", "\n"} or after[:1] not in {"", "\n", "\r"}:
        return None
    return None if before.count("```") % 2 else (before, after.lstrip("\r\n"))


class ThinkTags:
    """Reads one text from its start. However it is split, the same thinking and text come out.

    is_over: what comes is text, whatever it is. tags: those that the thinking stands between, once they were seen.
    """

    __slots__ = ("_closing", "_held", "_undecided", "is_over", "tags")

    def __init__(self, *, is_over: bool = False) -> None:
        self.is_over = is_over
        self.tags: tuple[str, str] | None = None
        # Text before it is known whether it begins with a tag.
        self._undecided = ""
        self._closing: str | None = None
        # The end of thinking that may be the beginning of its closing tag.
        self._held = ""

    @property
    def holds(self) -> bool:
        """Whether something was said that has not come out yet."""
        return bool(self._undecided or self._held)

    def split(self, text: str) -> list[Text | Reasoning]:
        """What a piece of the text turns out to be; an empty reasoning begins one."""
        out: list[Text | Reasoning] = []
        if self._closing is None:
            text = self._decide(text, out)
        if text and self._closing is not None:
            text = self._until_closing(text, out)
        if text:
            out.append(Text(text))
        return out

    def end_opening(self) -> list[Text | Reasoning]:
        """What was held back because it might have become an opening tag: the text is over, or something else came."""
        if not self._undecided:
            return []
        text, self._undecided, self.is_over = self._undecided, "", True
        return [Text(text)]

    def end(self) -> list[Text | Reasoning]:
        """All that was held back: the text is over."""
        out = self.end_opening()
        if self._held:
            out.append(Reasoning(self._held))
        self._held, self._closing, self.is_over = "", None, True
        return out

    def _decide(self, text: str, out: list[Text | Reasoning]) -> str:
        """Holds text back until it is clear whether it opens with a tag. Returns what is left to handle."""
        held = self._undecided + text
        start = held.lstrip()
        for opening, closing in THINK_TAGS.items():
            if start.startswith(opening):
                self._undecided, self._closing, self.tags = "", closing, (opening, closing)
                out.append(Reasoning(""))
                return start[len(opening) :]
        if len(start) < _LONGEST_TAG and any(opening.startswith(start) for opening in THINK_TAGS):
            self._undecided = held
            return ""
        self._undecided, self.is_over = "", True
        return held

    def _until_closing(self, text: str, out: list[Text | Reasoning]) -> str:
        """Thinking goes on until its closing tag, which may be split. Returns what comes after it."""
        closing = self._closing or ""
        text = self._held + text
        at = text.find(closing)
        if at >= 0:
            if at:
                out.append(Reasoning(text[:at]))
            self._held, self._closing, self.is_over = "", None, True
            return text[at + len(closing) :].lstrip("\n")
        keep = next((n for n in range(min(len(closing) - 1, len(text)), 0, -1) if text.endswith(closing[:n])), 0)
        self._held = text[len(text) - keep :] if keep else ""
        if keep < len(text):
            out.append(Reasoning(text[: len(text) - keep]))
        return ""
