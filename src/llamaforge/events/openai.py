"""OpenAI's format, and what providers made of it: a chunk or a whole completion becomes events.

A chunk of the usual form is decoded in one typed step. One with a field of an unexpected kind is read again, field by
field, so that only that field is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec

from llamaforge.events import lenient, pictures
from llamaforge.events.repair import Repair
from llamaforge.events.types import Done, Error, Event, Image, Notice, Reasoning, Refusal, Source, Text, ToolCall, Usage

S = TypeVar("S", bound=msgspec.Struct)
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# The finish reason of an answer that failed in the middle.
FAILED: Final = "error"
LOST: Final = "The provider's answer had {} in a form that could not be read, and that is missing here."
# Of a provider's error, so many characters are told.
_LONGEST_DETAIL: Final = 2_000


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | list[Any] | None = None


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    """What a chunk adds, or a whole message. Reasoning has three names, and two for its parts with signatures."""

    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None
    refusal: str | None = None
    function_call: _Function | None = None
    reasoning_details: list[Any] | None = None
    thinking_blocks: list[Any] | None = None
    annotations: list[Any] | None = None
    images: list[Any] | None = None


class _Choice(msgspec.Struct, gc=False):
    """usage: where Moonshot has it."""

    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None


class _Groq(msgspec.Struct, gc=False):
    usage: dict[str, Any] | None = None


class _Chunk(msgspec.Struct, gc=False):
    """x_groq: where Groq has the usage. timings: llama.cpp's, of an answer without usage."""

    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    x_groq: _Groq | None = None
    timings: dict[str, Any] | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Answer(msgspec.Struct, gc=False):
    """The fields that are read one by one; an error was looked for before."""

    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    x_groq: _Groq | None = None
    timings: dict[str, Any] | None = None


_NULL: Final = msgspec.Raw(b"null")
_decode: Final = msgspec.json.Decoder(_Chunk).decode
# Parts of a message that are no text.
_PICTURES: Final = ("image_url", "image", "output_image", "image_generation_call")
_ASIDE: Final = ("thinking", "refusal", *_PICTURES)
# What nearly every delta has, and no more.
_PLAIN_DELTA: Final = frozenset({"role", "content"})
_PLAIN: Final = (str, int, float, bool)
KNOWN_FIELDS: Final = frozenset(_Delta.__struct_fields__)


class Decoder:
    """Chunks or completions of one answer as events.

    finished: a finish reason was seen. error: an error that the provider sent; nothing after it counts. lost: how many
    values had a form in which they can't be used, a whole chunk that is no JSON object counted as one. strays: how many
    of these were whole chunks; unreadable: how many began as one. aside: the last chunk, if it has no
    choices: some providers say there why they gave up.
    """

    __slots__ = ("_repair", "aside", "error", "finished", "lost", "strays", "unreadable")

    def __init__(self) -> None:
        self.finished = False
        self.error: Error | None = None
        self.lost = 0
        self.strays = 0
        self.aside: bytes | None = None
        self.unreadable = 0
        self._repair: Repair | None = None

    def decode(self, payload: bytes) -> list[Event]:
        """The events of one JSON text."""
        if self._repair is not None and self._repair.holds:
            return self._repaired(payload)
        try:
            chunk = _decode(payload)
        except msgspec.ValidationError:
            return self._read(payload)
        except UNREADABLE:
            return self._repaired(payload)
        if not chunk.choices or chunk.error:
            error = error_in(payload) if chunk.error != _NULL and b"error" in payload else None
            if error is not None:
                self.error = error
                return [error]
            self.aside = payload
        else:
            self.aside = None
        events = self._events(chunk)
        if self.error is not None and (said := error_of_choice(payload)) is not None:
            self.error = events[-1] = said
        return events

    def _read(self, payload: bytes) -> list[Event]:
        try:
            value = msgspec.json.decode(payload)
        except UNREADABLE:
            return self._repaired(payload)
        return self.read(value)

    def _repaired(self, payload: bytes) -> list[Event]:
        """The events of a text that is no strict JSON, or that goes on with half a character."""
        self._repair = self._repair or Repair()
        value = self._repair.read(payload)
        if value is None:
            self.lost += 1
            self.strays += 1
            self.unreadable += is_broken(payload)
            return []
        return self.read(value)

    def read(self, value: Any) -> list[Event]:
        """The events of a chunk or completion that is decoded already, also of the openai SDK's objects."""
        if isinstance(value, dict) and (error := error_of(value)) is not None:
            self.error = error
            return [error]
        self.strays += isinstance(value, str | int | float | list | None)
        return self._events(self._typed(value, _Answer))

    def told_at_end(self) -> list[Event]:
        """That fields of chunks were lost, if any were."""
        return notice_of(self.lost - self.strays)

    def read_delta(self, delta: Any, *, is_whole: bool = False) -> list[Event]:
        """The events of a choice's delta, or of its message (is_whole), that is decoded already."""
        given = lenient.fields(delta)
        content = given.get("content")
        if type(content) is str and given.keys() <= _PLAIN_DELTA:
            return [Text(content)] if content else []
        out: list[Event] = []
        self._delta(self._typed(given, _Delta), 0, out, is_whole=is_whole)
        return out

    def _typed(self, value: Any, kind: type[S]) -> S:
        try:
            return msgspec.convert(value, kind, from_attributes=True)
        except msgspec.ValidationError:
            typed, lost = lenient.convert(value, kind)
            self.lost += lost
            return typed

    def _events(self, chunk: _Chunk | _Answer) -> list[Event]:
        out: list[Event] = []
        for choice in chunk.choices or ():
            number = choice.index or 0
            if (delta := choice.delta) is not None:
                self._delta(delta, number, out)
            elif choice.message is not None:
                self._delta(choice.message, number, out, is_whole=True)
            elif choice.text:
                out.append(Text(choice.text, number))
            if choice.finish_reason:
                self.finished = True
                out.append(Done(choice.finish_reason, number))
                if choice.finish_reason == FAILED:
                    self.error = Error(None, 502)
                    out.append(self.error)
            if choice.usage and not chunk.usage:
                out.append(usage_event(choice.usage))
        if chunk.usage:
            out.append(usage_event(chunk.usage))
        elif chunk.x_groq is not None and chunk.x_groq.usage:
            out.append(usage_event(chunk.x_groq.usage))
        elif chunk.timings and (counted := usage_of_timings(chunk.timings)):
            out.append(counted)
        return out

    def _delta(self, delta: _Delta, choice: int, out: list[Event], *, is_whole: bool = False) -> None:
        thought = delta.reasoning_content or delta.reasoning or delta.thinking
        if thought or delta.reasoning_details or delta.thinking_blocks:
            self._reasoning(thought or "", delta, choice, out)
        content = delta.content
        if content:
            if isinstance(content, str):
                out.append(Text(content, choice))
            else:
                self._content(content, choice, out)
        if delta.refusal:
            out.append(Refusal(delta.refusal, choice))
        if delta.tool_calls:
            self._calls(delta.tool_calls, choice, out, is_whole=is_whole)
        if delta.function_call is not None:
            out.append(_call(None, None, delta.function_call, choice))
        if delta.images:
            for image in delta.images:
                self._image(image, choice, out)
        if delta.annotations:
            for note in delta.annotations:
                self._annotation(note, choice, out)

    def _calls(self, calls: list[_Call], choice: int, out: list[Event], *, is_whole: bool) -> None:
        for position, call in enumerate(calls):
            if call.index is None and not call.id and call.function is None:
                self.lost += 1
            else:
                # A whole message's calls are whole, however they are numbered.
                out.append(_call(position if is_whole else call.index, call.id, call.function, choice))

    def _reasoning(self, thought: str, delta: _Delta, choice: int, out: list[Event]) -> None:
        """Reasoning that came under a name, or else in parts, and the parts as they came."""
        name = "reasoning_details" if delta.reasoning_details else "thinking_blocks"
        given = delta.reasoning_details or delta.thinking_blocks
        if not given:
            out.append(Reasoning(thought, choice=choice))
            return
        parts = [part for part in given if isinstance(part, dict)]
        self.lost += len(given) - len(parts)
        if parts or thought:
            said = thought or "".join(map(_thought_in, parts))
            signatures = [part["signature"] for part in parts if _is_said(part.get("signature"))]
            plain = [{k: v for k, v in part.items() if v is None or isinstance(v, _PLAIN)} for part in parts]
            out.append(Reasoning(said, "".join(signatures) or None, choice, {name: plain} if plain else None))

    def _content(self, parts: list[Any], choice: int, out: list[Event]) -> None:
        """Content as a list of parts: texts, thinking (whose own content is a list again), refusals, pictures."""
        texts: list[str] = []
        for part in parts:
            text = part.get("text") if isinstance(part, dict) else part
            kind = part.get("type") if isinstance(part, dict) else "text"
            if kind not in _ASIDE and isinstance(text, str):
                texts.append(text)
                continue
            _say("".join(texts), choice, out)
            texts = []
            if kind == "thinking":
                signature = part.get("signature")
                out.append(Reasoning(_thought_in(part), signature if _is_said(signature) else None, choice))
            elif kind == "refusal" and isinstance(part.get("refusal"), str):
                out.append(Refusal(part["refusal"], choice))
            elif kind in _PICTURES or (kind is None and (part.get("inlineData") or part.get("inline_data"))):
                # Gemini's have no type, and some servers pass them on.
                self._image(part, choice, out)
            else:
                self.lost += 1
        _say("".join(texts), choice, out)

    def _image(self, image: Any, choice: int, out: list[Event]) -> None:
        url = pictures.url_of(image)
        if url is not None:
            out.append(Image(url, choice))
        else:
            self.lost += 1

    def _annotation(self, note: Any, choice: int, out: list[Event]) -> None:
        kind = note.get("type") if isinstance(note, dict) else None
        if kind is not None and kind != "url_citation":
            # Of another kind, such as the text of a file that was read: no source that a page could show.
            return
        cited = note.get("url_citation", note) if isinstance(note, dict) else None
        cited = cited if isinstance(cited, dict) else {}
        url = cited.get("url")
        if not (isinstance(url, str) and url.startswith(("https://", "http://"))):
            self.lost += 1
            return
        title, text = cited.get("title"), cited.get("content")
        # Where in the answer's text the source is cited.
        place = {name: cited[name] for name in ("start_index", "end_index") if isinstance(cited.get(name), int)}
        out.append(
            Source(url, title if _is_said(title) else None, text if _is_said(text) else None, choice, place or None)
        )


def notice_of(lost: int) -> list[Event]:
    """What is told of so many values that had a form in which they can't be used."""
    return [Notice(LOST.format("a part" if lost == 1 else f"{lost} parts"))] if lost > 0 else []


def _say(text: str, choice: int, out: list[Event]) -> None:
    if text:
        out.append(Text(text, choice))


def _call(index: int | None, id_: str | None, function: _Function | None, choice: int) -> ToolCall:
    if function is None:
        return ToolCall(index, id_ or None, choice=choice)
    arguments = function.arguments
    if not isinstance(arguments, str):
        arguments = "" if arguments is None else msgspec.json.encode(arguments).decode()
    return ToolCall(index, id_ or None, function.name or None, arguments, choice)


def _is_said(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _thought_in(part: dict[str, Any]) -> str:
    """The text of a part of reasoning, under whichever name it stands."""
    for name in ("text", "thinking", "summary"):
        said = part.get(name)
        if isinstance(said, str):
            return said
        if isinstance(said, list):
            return "".join(_thoughts_of(said))
    return ""


def _thoughts_of(parts: list[Any]) -> Iterator[str]:
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            yield text


def usage_event(raw: dict[str, Any]) -> Usage:
    """Usage under the names of OpenAI's two APIs and those of some providers."""
    return Usage(
        prompt=_count(raw, "prompt_tokens", "input_tokens"),
        completion=_count(raw, "completion_tokens", "output_tokens"),
        cached=_detail(raw, "cached_tokens", "prompt_tokens_details", "input_tokens_details")
        or _count(raw, "prompt_cache_hit_tokens", "cache_read_input_tokens"),
        reasoning=_detail(raw, "reasoning_tokens", "completion_tokens_details", "output_tokens_details"),
        raw=raw,
    )


def translated_usage(
    given: dict[str, Any], prompt: int, completion: int, *, cached: int | None, reasoning: int | None
) -> Usage:
    """Usage of another API, whose `raw` has the API's own numbers and beside them OpenAI's."""
    raw = {
        **given,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached or 0},
    }
    if reasoning is not None:
        raw["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return Usage(prompt, completion, cached, reasoning, raw)


def usage_of_timings(timings: dict[str, Any]) -> Usage | None:
    """What llama.cpp says of an answer's speed as usage; None where it counts no tokens."""
    prompt, completion = _count(timings, "prompt_n"), _count(timings, "predicted_n")
    if prompt is None or completion is None:
        return None
    cached = _count(timings, "cache_n")
    return translated_usage({"timings": timings}, prompt + (cached or 0), completion, cached=cached, reasoning=None)


def _count(raw: dict[str, Any], *names: str) -> int | None:
    return next((value for name in names if (value := lenient.count(raw.get(name))) is not None), None)


def _detail(raw: dict[str, Any], name: str, *groups: str) -> int | None:
    for group in groups:
        found = raw.get(group)
        if isinstance(found, dict) and (value := _count(found, name)) is not None:
            return value
    return None


def error_in(payload: bytes) -> Error | None:
    """The error that a JSON text tells of, in any of the forms in which providers do; None when it tells of none."""
    try:
        value = msgspec.json.decode(payload)
    except UNREADABLE:
        return None
    return error_of(value)


def error_of(value: Any) -> Error | None:
    """The same of a decoded one. An object may also be the error itself, and say so."""
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if not error:
        if value.get("choices") or "error" not in {_text(value.get("object")), _text(value.get("type"))}:
            return None
        error = value
    return as_error(error, value)


def error_of_choice(payload: bytes) -> Error | None:
    """What a choice that ended with an error says of it."""
    try:
        choices = msgspec.json.decode(payload)["choices"]
        return next(as_error(choice["error"], choice) for choice in choices if choice.get("error"))
    except (*UNREADABLE, AttributeError, KeyError, TypeError, StopIteration):
        return None


def said_aside(payload: bytes | None) -> Error | None:
    """The error that a chunk without choices turns out to have been, when no end of the answer came."""
    try:
        value = None if payload is None else msgspec.json.decode(payload)
    except UNREADABLE:
        return None
    if not isinstance(value, dict) or message_of(value) is None:
        return None
    return as_error(value, value)


def as_error(error: Any, body: Any) -> Error:
    """What a provider gave as its error. body: all that came with it."""
    given = (error.get("code"), error.get("status")) if isinstance(error, dict) else ()
    status = next((code for code in given if type(code) is int and 400 <= code <= 599), 502)
    return Error(message_of(error), status, body)


def is_broken(payload: bytes) -> bool:
    """Whether a text that can't be read was meant to be a chunk: some providers send other words to keep a connection."""
    return payload.lstrip()[:1] in {b"{", b"["}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def message_of(body: Any) -> str | None:
    """The sentence in a provider's error body, at most 2,000 characters of it."""
    for _ in range(4):
        if isinstance(body, list) and body:
            body = body[0]
        if isinstance(body, str):
            return body.strip()[:_LONGEST_DETAIL] or None
        if not isinstance(body, dict):
            return None
        said = next((body[key] for key in ("error", "errors", "message", "detail", "msg") if body.get(key)), None)
        # Qdrant has it there.
        body = body["status"] if said is None and isinstance(body.get("status"), dict) else said
    return None
