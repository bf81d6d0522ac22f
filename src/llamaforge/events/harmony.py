"""The channels of gpt-oss ("harmony"), which some servers leak as text: its thinking, calls and answer told apart again.

Only a text that begins with such a marker is read so; any other passes as it is, and costs nothing from its first words on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from llamaforge.events.types import Done, Event, Reasoning, Text, ToolCall, Usage

_OPENINGS: Final = ("<|channel|>", "<|start|>assistant")
_MARKER: Final = re.compile(r"<\|(channel|message|constrain|start|end|call|return)\|>")
_BEGUN_MARKER: Final = re.compile(r"<(\|([a-z]{0,9}\|?)?)?")
_LONGEST_MARKER: Final = len("<|constrain|>")
_RECIPIENT: Final = re.compile(r"\bto=([^\s<]+)")
_NAMESPACE: Final = "functions."
# What should be a header and is longer than this is cut.
_LONGEST_HEADER: Final = 1_000


class Channels:
    """Reads the events of one answer. However its text is split, the same comes out.

    is_over: nothing is told apart any more, what comes is to be passed on as it is.
    """

    __slots__ = ("_calls", "_fresh", "_held", "_kind", "_last", "_opened", "is_over")

    def __init__(self) -> None:
        self.is_over = False
        self._opened = False
        # Text that is not clear yet: the beginning of a marker, or a header.
        self._held = ""
        # What the message is that is read: "reasoning", "call", "text", "header" until it is known, None between two.
        self._kind: str | None = None
        # Whether it has said nothing yet, and what the one before it was.
        self._fresh = True
        self._last: str | None = None
        self._calls = 0

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """The events for these; those of other choices, and all that are no text, as they are."""
        out: list[Event] = []
        for event in events:
            if not isinstance(event, Text):
                # Counts may come with any chunk, also in the middle of a marker.
                if self._held and (isinstance(event, Done) or not (self._opened or isinstance(event, Usage))):
                    out += self.end()
                out.append(event)
            elif event.choice or self.is_over:
                out.append(event)
            elif self._opened:
                self._held = self._read(self._held + event.text, out)
            else:
                self._open(event, out)
        return out

    def end(self) -> list[Event]:
        """What was held back: the text is over, or something else comes first."""
        out: list[Event] = []
        held, self._held = self._held, ""
        if not self._opened:
            self.is_over = True
            self._kind = "text"
        if not self._opened or not held.startswith("<|"):
            self._say(held, out)
        return out

    def _open(self, event: Text, out: list[Event]) -> None:
        """Finds out whether the text begins with a marker."""
        text = self._held + event.text
        start = text.lstrip()
        if start.startswith(_OPENINGS):
            self._opened = True
            self._held = self._read(start, out)
        elif any(opening.startswith(start) for opening in _OPENINGS):
            self._held = text
        else:
            out.append(Text(text) if self._held else event)
            self.is_over, self._held = True, ""

    def _read(self, text: str, out: list[Event]) -> str:
        """Takes what is clear of a text, and returns the rest."""
        begin = 0
        for found in _MARKER.finditer(text):
            marker = found[1]
            if self._kind == "header":
                if marker in {"channel", "constrain"}:
                    continue
                self._kind = self._begin(text[begin : found.start()], out) if marker == "message" else None
            else:
                self._say(text[begin : found.start()], out)
                self._kind = None
            begin = found.end()
            if marker in {"start", "channel"}:
                # Some leave the end of the message before it out.
                self._kind = "header"
        rest = text[begin:]
        if self._kind == "header":
            return rest[-_LONGEST_HEADER:]
        keep = rest.rfind("<", max(len(rest) - _LONGEST_MARKER + 1, 0))
        if keep < 0 or _BEGUN_MARKER.fullmatch(rest, keep) is None:
            keep = len(rest)
        self._say(rest[:keep], out)
        return rest[keep:]

    def _begin(self, header: str, out: list[Event]) -> str:
        """The kind of the message with this header; a call begins with its name."""
        self._fresh = True
        to = _RECIPIENT.search(header)
        if to is None:
            return "reasoning" if "analysis" in header else "text"
        if to[1].startswith("assistant"):
            # A tool's result, which the model made up.
            return "reasoning"
        out.append(ToolCall(self._calls, None, to[1].removeprefix(_NAMESPACE)))
        self._calls += 1
        return "call"

    def _say(self, text: str, out: list[Event]) -> None:
        kind = self._kind
        if not text or kind is None or kind == "header":
            return
        if kind == "call":
            out.append(ToolCall(self._calls - 1, arguments=text))
        else:
            # Two messages of a kind are two paragraphs.
            text = f"\n\n{text}" if self._fresh and self._last == kind else text
            out.append(Reasoning(text) if kind == "reasoning" else Text(text))
        self._fresh, self._last = False, kind
