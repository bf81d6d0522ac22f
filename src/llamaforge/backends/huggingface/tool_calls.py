"""Tool calls that a model writes into its text, as `<tool_call>{"name": …, "arguments": …}</tool_call>`."""

from __future__ import annotations

import json
from typing import Any

from llamaforge.backends.huggingface.text import Cutter
from llamaforge.formats import completions

OPEN = "<tool_call>"
CLOSE = "</tool_call>"

Part = str | dict[str, Any]


class CallReader:
    """Reads an answer in pieces: what is text, and each tool call in it as OpenAI's object.

    What stands between the marks and is no call remains text, marks included. Blanks after a call are dropped.
    """

    def __init__(self) -> None:
        self._outside = Cutter((OPEN,))
        self._inside: Cutter | None = None
        self._body = ""
        self._calls = 0
        self._trims = False

    def feed(self, piece: str) -> list[Part]:
        """The parts that `piece` completes."""
        parts: list[Part] = []
        while True:
            if self._inside is None:
                parts += self._text(self._outside.feed(piece))
                if self._outside.found is None:
                    return parts
                piece, self._inside, self._body = self._outside.after, Cutter((CLOSE,)), ""
                self._outside = Cutter((OPEN,))
            else:
                self._body += self._inside.feed(piece)
                if self._inside.found is None:
                    return parts
                piece, self._inside = self._inside.after, None
                parts += self._call(CLOSE)

    def rest(self) -> list[Part]:
        """The parts that were held back, at the end: a call needs no closing mark there."""
        if self._inside is None:
            return self._text(self._outside.rest())
        self._body += self._inside.rest()
        self._inside = None
        return self._call("")

    def _text(self, text: str) -> list[Part]:
        if self._trims:
            text = text.lstrip()
            self._trims = not text
        return [text] if text else []

    def _call(self, close: str) -> list[Part]:
        call = parse(self._body, self._calls)
        if call is None:
            return [OPEN + self._body + close]
        self._calls += 1
        self._trims = True
        return [call]


def parse(text: str, index: int = 0) -> dict[str, Any] | None:
    """The call that `text` describes in JSON, as the `index`-th in OpenAI's list; None where it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    function = {"name": value["name"], "arguments": arguments}
    return {"index": index, "id": completions.new_id("call"), "type": "function", "function": function}


def for_template(call: Any) -> Any:
    """An OpenAI tool call as chat templates want it: its arguments as an object."""
    try:
        function = call["function"]
        return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}
    except (KeyError, TypeError, ValueError):
        return call
