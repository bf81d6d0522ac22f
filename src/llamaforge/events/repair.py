"""Chunks of OpenAI's form and Ollama's lines that a strict decoder refuses: numbers that JSON doesn't have, half characters."""

from __future__ import annotations

import codecs
import json
from typing import Any, Final

# The fields of a delta whose texts go on from chunk to chunk.
_GROWING: Final = ("content", "reasoning_content", "reasoning", "thinking", "refusal", "response")
_Key = tuple[Any, str, Any]


class Repair:
    """Reads such chunks of one answer.

    The halves of a character that come in two chunks are put together; a half that stays alone becomes U+FFFD. Numbers
    that are none (NaN, Infinity) become null.
    """

    __slots__ = ("_decoders",)

    def __init__(self) -> None:
        self._decoders: dict[_Key, codecs.IncrementalDecoder] = {}

    @property
    def holds(self) -> bool:
        """Whether half a character waits for the next chunk, which must be read here as well."""
        return bool(self._decoders)

    def read(self, payload: bytes) -> Any:
        """The value of a JSON text, None where it is none."""
        try:
            text, form = payload.decode(), "utf-16-le"
        except UnicodeDecodeError:
            text, form = payload.decode(errors="surrogateescape"), "utf-8"
        try:
            value = json.loads(text, parse_constant=lambda _: None, strict=False)
            if isinstance(value, dict):
                self._join(value, form)
            return _clean(value)
        except (ValueError, RecursionError):
            return None

    def _join(self, value: dict[str, Any], form: str) -> None:
        if "choices" not in value:
            self._join_line(value, form)
            return
        choices = value["choices"]
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            number, is_last = _key(choice.get("index")), bool(choice.get("finish_reason"))
            delta = choice.get("delta")
            if isinstance(delta, dict):
                for field in _GROWING:
                    self._field(delta, field, (number, field, None), form)
                calls = delta.get("tool_calls")
                for call in calls if isinstance(calls, list) else ():
                    function = call.get("function") if isinstance(call, dict) else None
                    if isinstance(function, dict):
                        self._field(function, "arguments", (number, "arguments", _key(call.get("index"))), form)
            if is_last and isinstance(delta, dict):
                self._end(number, delta)

    def _join_line(self, line: dict[str, Any], form: str) -> None:
        """A line of Ollama's: its texts are in its message, or in the line itself."""
        said = line.get("message")
        holder = said if isinstance(said, dict) else line
        for field in _GROWING:
            self._field(holder, field, (0, field, None), form)
        if line.get("done"):
            self._end(0, holder)

    def _field(self, holder: dict[str, Any], name: str, key: _Key, form: str) -> None:
        text = holder.get(name)
        if not isinstance(text, str):
            return
        decoder = self._decoders.get(key)
        if decoder is None:
            if _is_whole(text):
                return
            decoder = self._decoders[key] = codecs.getincrementaldecoder(form)("replace")
            decoder.form = form  # type: ignore[attr-defined]
        holder[name] = decoder.decode(_encoded(text, decoder.form))  # type: ignore[attr-defined]
        if not decoder.getstate()[0]:
            del self._decoders[key]

    def _end(self, number: Any, holder: dict[str, Any]) -> None:
        """What still waits for its other half when a choice is over."""
        for key in [key for key in self._decoders if key[0] == number]:
            rest = self._decoders.pop(key).decode(b"", final=True)
            if key[1] in _GROWING:
                holder[key[1]] = (holder.get(key[1]) or "") + rest


def _key(value: Any) -> Any:
    return value if isinstance(value, int | str) else 0


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encoded(text: str, form: str) -> bytes:
    """A text's bytes, half characters as they came."""
    if form == "utf-16-le":
        return text.encode(form, "surrogatepass")
    try:
        return text.encode(form, "surrogateescape")
    except UnicodeEncodeError:
        return text.encode(form, "replace")


def _clean(value: Any) -> Any:
    """The value with every other half character replaced."""
    if isinstance(value, str):
        return value if _is_whole(value) else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {_clean(name): _clean(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_clean(part) for part in value]
    return value
