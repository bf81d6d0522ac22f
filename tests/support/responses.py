"""A client's reading of OpenAI's Responses API as events, to test what `serve` writes: its stream, and its whole responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llamaforge.events import lenient
from llamaforge.events.decoder import JsonDecoder
from llamaforge.events.openai import message_of, usage_event
from llamaforge.events.types import Done, Error, Event, Image, Reasoning, Refusal, Source, Text, ToolCall

Json = dict[str, Any]
_STATUSES: Final = {"rate_limit_exceeded": 429, "invalid_prompt": 400}
_INCOMPLETE: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_PIECES: Final[Mapping[str, type[Text | Refusal | Reasoning]]] = {
    "response.output_text.delta": Text,
    "response.refusal.delta": Refusal,
    "response.reasoning_text.delta": Reasoning,
    "response.reasoning_summary_text.delta": Reasoning,
}


class Decoder(JsonDecoder):
    """The events of one answer, streamed or whole.

    An item of reasoning, which goes back unchanged, is in `details["reasoning_items"]` with the number (`index`) of its
    place among the items. Its encrypted content is the signature.
    """

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        super().__init__()
        # Places of calls, and whether arguments of each were seen.
        self._calls: dict[int, bool] = {}

    def _events(self, value: Json) -> list[Event]:
        out: list[Event] = []
        kind, place = lenient.text(value.get("type")), lenient.count(value.get("output_index")) or 0
        delta = lenient.text(value.get("delta"))
        if value.get("object") == "response":
            for index, item in enumerate(lenient.items(value.get("output"))):
                self._item(index, lenient.mapping(item), out, is_whole=True)
            self._end(value, out)
        elif kind == "error" or (not kind and value.get("error")):
            self._fail(value, out)
        elif kind in _ENDS:
            self._end(lenient.mapping(value.get("response")), out)
        elif kind in _PIECES:
            out += [_PIECES[kind](delta)] if delta else []
        elif kind == "response.function_call_arguments.delta" and delta:
            self._calls[place] = True
            out.append(ToolCall(place, arguments=delta))
        elif kind == "response.output_text.annotation.added":
            self._annotation(value.get("annotation"), out)
        elif kind in {"response.output_item.added", "response.output_item.done"}:
            item = lenient.mapping(value.get("item"))
            if item.get("type") == "function_call" or kind.endswith("done"):
                self._item(place, item, out)
        elif not kind.startswith("response."):
            self.lost += 1
        return out

    def _item(self, place: int, item: Json, out: list[Event], *, is_whole: bool = False) -> None:
        """An item that is whole, or as it begins or ends in a stream, where its text came before."""
        kind, content = item.get("type"), lenient.items(item.get("content"))
        if kind == "function_call":
            arguments = lenient.text(item.get("arguments"))
            name, call_id = lenient.text(item.get("name")) or None, lenient.text(item.get("call_id")) or None
            is_known = place in self._calls
            arguments = "" if self._calls.get(place) else arguments
            self._calls[place] = self._calls.get(place, False) or bool(arguments)
            if arguments or not is_known:
                out.append(ToolCall(place, call_id, name, arguments))
        elif kind == "reasoning":
            said = content or lenient.items(item.get("summary"))
            text = "".join(lenient.text(lenient.mapping(part).get("text")) for part in said) if is_whole else ""
            signature = lenient.text(item.get("encrypted_content")) or None
            out.append(Reasoning(text, signature, details={"reasoning_items": [{**item, "index": place}]}))
        elif kind == "image_generation_call" and (data := lenient.text(item.get("result"))):
            out.append(Image(f"data:image/{lenient.text(item.get('output_format')) or 'png'};base64,{data}"))
        elif kind == "message" and is_whole:
            for part in map(lenient.mapping, content):
                if text := lenient.text(part.get("text")):
                    out.append(Text(text))
                if refusal := lenient.text(part.get("refusal")):
                    out.append(Refusal(refusal))
                for note in lenient.items(part.get("annotations")):
                    self._annotation(note, out)

    def _annotation(self, note: Any, out: list[Event]) -> None:
        given = lenient.mapping(note)
        url = lenient.text(given.get("url"))
        if url.startswith(("https://", "http://")):
            place = {name: given[name] for name in ("start_index", "end_index") if isinstance(given.get(name), int)}
            out.append(Source(url, lenient.text(given.get("title")) or None, details=place or None))

    def _end(self, response: Json, out: list[Event]) -> None:
        if usage := lenient.mapping(response.get("usage")):
            out.append(usage_event(usage))
        if response.get("status") == "failed" or response.get("error"):
            self._fail(response, out)
            return
        reason = lenient.text(lenient.mapping(response.get("incomplete_details")).get("reason"))
        self.finished = True
        out.append(Done(_INCOMPLETE.get(reason, reason) if reason else "tool_calls" if self._calls else "stop"))

    def _fail(self, value: Json, out: list[Event]) -> None:
        """An error's event has its words at the top, and a failed response in an object."""
        error = lenient.mapping(value.get("error")) or value
        code = error.get("code")
        self.error = Error(message_of(error), _STATUSES.get(code, 502) if isinstance(code, str) else 502, value)
        out.append(self.error)
