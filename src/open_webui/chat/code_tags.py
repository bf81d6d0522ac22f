"""Code that a model writes into its text between tags, where it calls no tools: taken out of what it says. Pure."""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from llamaforge.events import Event, Text

# The item of an answer that holds a piece of code and what came of it.
KIND: Final = "open_webui:code_interpreter"
LANGUAGE: Final = "python"
PROMPT: Final = (
    'You can run Python. To do so, write the code between <code_interpreter type="code" lang="python"> and'
    " </code_interpreter>, and end your message there. What it prints, its errors and the value of its last line come back in"
    " the next message; go on with your answer then. Files that the person attached lie in the working directory. Plots, and"
    " files that the code writes, are shown to the person. Write code that is only to be read in a usual code block instead."
)
_OPEN: Final = "<code_interpreter"
_CLOSE: Final = "</code_interpreter>"
# An opening tag, and the beginning of one at the end of a text. What is longer is a text, and so is a tag of a longer name.
_TAG: Final = re.compile(rf"{_OPEN}(?:\s[^<>]{{0,200}})?>")
_BEGUN: Final = re.compile(
    rf"(?:{_OPEN}(?:\s[^<>]{{0,200}})?|{'|'.join(_OPEN[:n] for n in range(len(_OPEN) - 1, 0, -1))})\Z"
)
_LONGEST_CODE: Final = 200_000


class CodeTags:
    """The text of one round as it comes. code: what stood between tags, once there was any; longer than is run where the model
    found no end. is_closed: nothing that follows counts: the model would make up what came of its code.
    """

    def __init__(self) -> None:
        self.code: str | None = None
        self.is_closed = False
        # What may become a tag, and the tag that was opened.
        self._held = ""
        self._opened: str | None = None
        # The code so far, how much it is, and its end, where a tag may have begun.
        self._parts: list[str] = []
        self._size = 0
        self._tail = ""

    def feed(self, events: Sequence[Event]) -> list[Event]:
        """The events without what stands between tags, and without what may become a tag."""
        out: list[Event] = []
        for event in events:
            if self.is_closed:
                break
            if not isinstance(event, Text) or event.choice:
                out.append(event)
            elif said := self._take(event.text):
                out.append(Text(said, details=event.details))
        return out

    def end(self, *, is_cut: bool = False) -> list[Event]:
        """The text has ended: what was held back. Code that was not closed counts: many providers end a text at its tag.

        is_cut: it was broken off. Half a piece of code is not run, it is said as it came.
        """
        held, self._held = self._held, ""
        if self.is_closed:
            return []
        if self._opened is not None:
            code = "".join(self._parts)
            if not is_cut:
                self._close(code)
                return []
            held, self._opened = self._opened + code, None
        return [Text(held)] if held else []

    def _take(self, text: str) -> str:
        """What of a text is said."""
        if self._opened is not None:
            self._take_code(text)
            return ""
        self._held += text
        said, code = self._until_tag()
        if code:
            self._take_code(code)
        return said

    def _take_code(self, text: str) -> None:
        self._parts.append(text)
        self._size += len(text)
        seen = self._tail + text
        if _CLOSE in seen:
            self._close("".join(self._parts).partition(_CLOSE)[0])
        elif self._size > _LONGEST_CODE:
            # Not made shorter by anything: who runs code refuses it, and says so.
            self.code, self.is_closed = "".join(self._parts), True
        else:
            self._tail = seen[-(len(_CLOSE) - 1) :]

    def _until_tag(self) -> tuple[str, str]:
        """What is said before a tag, and what follows on the tag."""
        held = self._held
        if (found := _TAG.search(held)) is not None:
            self._opened, self._held = found[0], ""
            return held[: found.start()], held[found.end() :]
        # The beginning of a tag may be all that has come yet.
        begun = _BEGUN.search(held)
        cut = len(held) if begun is None else begun.start()
        self._held = held[cut:]
        return held[:cut], ""

    def _close(self, code: str) -> None:
        self.code = _bare(code)
        self.is_closed = True


def _bare(code: str) -> str:
    """Code without the fence that models put around it."""
    code = code.strip("\n")
    stripped = code.strip()
    if stripped.startswith("```"):
        first, _, rest = stripped.partition("\n")
        code = rest.removesuffix("```").rstrip() if "`" not in first[3:] else stripped.strip("`")
    return code


def tagged(item: dict[str, Any]) -> str:
    """An item's code as the model wrote it."""
    return f'<code_interpreter type="code" lang="{LANGUAGE}">\n{item.get("code") or ""}\n</code_interpreter>'


def output_of(text: str) -> dict[str, Any]:
    """What came of code, of the text that a tool answered: pages show its members."""
    try:
        given = msgspec.json.decode(text)
    except msgspec.DecodeError:
        given = None
    if isinstance(given, dict):
        return given
    # What is cut is no JSON any more.
    return {"stdout" if text.startswith("{") else "stderr": text}


def came_of(item: dict[str, Any]) -> str:
    """What came of an item's code, for the model that wrote it."""
    output = item.get("output")
    text = output if isinstance(output, str) else msgspec.json.encode(output).decode()
    return f"This came of your code:\n{text}" if output is not None else "Your code was not run to its end."
