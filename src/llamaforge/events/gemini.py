"""Gemini's `generateContent` as events: the pieces of its stream, and its whole answers."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from llamaforge.events import lenient
from llamaforge.events.decoder import JsonDecoder
from llamaforge.events.openai import error_of, translated_usage
from llamaforge.events.types import Done, Error, Event, Image, Reasoning, Refusal, Source, Text, ToolCall, Usage

Json = dict[str, Any]
FINISH_REASONS: Final = {"STOP": "stop", "MAX_TOKENS": "length"} | dict.fromkeys(
    "SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII MODEL_ARMOR IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT "
    "IMAGE_RECITATION".split(),
    "content_filter",
)
# The model wrote something that can't be read; asked again, it may do better.
_FAILURES: Final = frozenset(
    "MALFORMED_FUNCTION_CALL MALFORMED_RESPONSE UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS".split()
)


class Decoder(JsonDecoder):
    """The events of one answer, streamed or whole.

    A call that has a `thoughtSignature` has it in `details["google"]`, as a list of one object with `thought_signature`;
    it must go back with the call. Code that ran at the provider's is a text without words, with the part in `details`.
    """

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, int] = {}

    def read(self, value: Any) -> list[Event]:
        """The same of a decoded one; an array of them, as streams without `alt=sse` are, is all of them."""
        if isinstance(value, list):
            return [event for one in value for event in JsonDecoder.read(self, one)]
        return super().read(value)

    def _events(self, value: Json) -> list[Event]:
        self.error = error_of(value)
        if self.error is not None:
            return [self.error]
        out: list[Event] = []
        feedback = lenient.mapping(value.get("promptFeedback"))
        if reason := lenient.text(feedback.get("blockReason")):
            sentence = lenient.text(feedback.get("blockReasonMessage")) or f"The question was refused ({reason})."
            self.finished = True
            out += [Refusal(sentence), Done("content_filter", details={"blockReason": reason})]
        for candidate in lenient.items(value.get("candidates")):
            self._candidate(lenient.mapping(candidate), out)
        if usage := lenient.mapping(value.get("usageMetadata")):
            out.append(_usage(usage))
        return out

    def _candidate(self, candidate: Json, out: list[Event]) -> None:
        choice = lenient.count(candidate.get("index")) or 0
        for part in lenient.items(lenient.mapping(candidate.get("content")).get("parts")):
            self._part(lenient.mapping(part), choice, out)
        cited = lenient.mapping(candidate.get("citationMetadata"))
        for source in (*lenient.items(cited.get("citationSources")), *lenient.items(cited.get("citations"))):
            self._source(lenient.mapping(source), choice, out)
        for chunk in lenient.items(lenient.mapping(candidate.get("groundingMetadata")).get("groundingChunks")):
            self._source(lenient.mapping(lenient.mapping(chunk).get("web")), choice, out)
        if reason := lenient.text(candidate.get("finishReason")):
            self._finish(reason, lenient.text(candidate.get("finishMessage")), choice, out)

    def _part(self, part: Json, choice: int, out: list[Event]) -> None:
        signature = lenient.text(part.get("thoughtSignature")) or None
        details = {"google": [{"thought_signature": signature}]} if signature else None
        text, call = part.get("text"), lenient.mapping(part.get("functionCall"))
        picture = lenient.mapping(part.get("inlineData"))
        if call:
            index = self._calls.get(choice, 0)
            self._calls[choice] = index + 1
            arguments = msgspec.json.encode(call.get("args") or {}).decode()
            name, call_id = lenient.text(call.get("name")) or None, lenient.text(call.get("id")) or None
            out.append(ToolCall(index, call_id, name, arguments, choice, details))
        elif part.get("thought") is True:
            out.append(Reasoning(lenient.text(text), signature, choice, details))
        elif isinstance(text, str):
            if text or details:
                out.append(Text(text, choice, details))
        elif lenient.text(picture.get("mimeType")).startswith("image/") and lenient.text(picture.get("data")):
            out.append(Image(f"data:{picture['mimeType']};base64,{picture['data']}", choice, details))
        elif part.get("executableCode") or part.get("codeExecutionResult"):
            out.append(Text("", choice, {"google": [part]}))
        else:
            self.lost += 1

    def _source(self, source: Json, choice: int, out: list[Event]) -> None:
        url = lenient.text(source.get("uri"))
        if url.startswith(("https://", "http://")):
            place = {
                name: number
                for name, given in (("start_index", "startIndex"), ("end_index", "endIndex"))
                if (number := lenient.count(source.get(given))) is not None
            }
            out.append(Source(url, lenient.text(source.get("title")) or None, choice=choice, details=place or None))

    def _finish(self, reason: str, message: str, choice: int, out: list[Event]) -> None:
        if reason in _FAILURES:
            self.error = Error(
                message or f"The model's answer can't be used ({reason}).", 502, {"finishReason": reason}
            )
            out.append(self.error)
            return
        finish = FINISH_REASONS.get(reason, reason.lower())
        if finish == "stop" and self._calls.get(choice):
            finish = "tool_calls"
        elif finish == "content_filter" and message:
            out.append(Refusal(message, choice))
        self.finished = True
        out.append(Done(finish, choice, {"finishReason": reason}))


def _usage(given: Json) -> Usage:
    """Thoughts count as completion, and what tools of the provider's brought as prompt."""
    thought = lenient.count(given.get("thoughtsTokenCount"))
    prompt = (lenient.count(given.get("promptTokenCount")) or 0) + (
        lenient.count(given.get("toolUsePromptTokenCount")) or 0
    )
    completion = (lenient.count(given.get("candidatesTokenCount")) or 0) + (thought or 0)
    cached = lenient.count(given.get("cachedContentTokenCount"))
    return translated_usage(given, prompt, completion, cached=cached, reasoning=thought)
