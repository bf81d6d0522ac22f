"""Anthropic's Messages API as events: those of its stream, and its whole messages."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from llamaforge.events import lenient
from llamaforge.events.decoder import JsonDecoder
from llamaforge.events.openai import message_of, translated_usage
from llamaforge.events.types import Done, Error, Event, Image, Reasoning, Refusal, Source, Text, ToolCall, Usage

Json = dict[str, Any]
FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
# The types of errors, and the statuses with which they come.
ERROR_STATUSES: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
# Events that say nothing about the answer.
_SILENT: Final = frozenset({"ping", "message_stop"})


class Decoder(JsonDecoder):
    """The events of one answer, streamed or whole.

    Reasoning has its blocks in `details["thinking_blocks"]`, each with the number (`index`) of its block, so that they
    can be sent back unchanged. What a tool of the provider's own did, such as a search, is in the answer as sources only.
    """

    __slots__ = ("_calls", "_usage")

    def __init__(self) -> None:
        super().__init__()
        self._usage: Json = {}
        # By the number of its block, each call and whether arguments of it were seen.
        self._calls: dict[int, list[Any]] = {}

    def _events(self, value: Json) -> list[Event]:
        kind = value.get("type")
        if kind == "error" or (kind is None and value.get("error")):
            return self._error(value)
        out: list[Event] = []
        if kind == "message":
            for index, block in enumerate(lenient.items(value.get("content"))):
                self._begin(index, lenient.mapping(block), out)
                self._end(index, out)
            self._stop(value, out)
            self._measure(value.get("usage"), out)
        elif kind == "message_start":
            self._measure(lenient.mapping(value.get("message")).get("usage"), out)
        elif kind == "message_delta":
            self._stop(lenient.mapping(value.get("delta")), out)
            self._measure(value.get("usage"), out)
        elif kind in {"content_block_start", "content_block_delta", "content_block_stop"}:
            self._block_event(kind, value, out)
        elif kind not in _SILENT:
            self.lost += 1
        return out

    def _block_event(self, kind: str, value: Json, out: list[Event]) -> None:
        index = value.get("index")
        if not isinstance(index, int):
            self.lost += 1
        elif kind == "content_block_start":
            self._begin(index, lenient.mapping(value.get("content_block")), out)
        elif kind == "content_block_delta":
            self._add(index, lenient.mapping(value.get("delta")), out)
        else:
            self._end(index, out)

    def _begin(self, index: int, block: Json, out: list[Event]) -> None:
        """A block as it begins in a stream, where it is mostly empty, or a whole one."""
        kind = block.get("type")
        if kind == "text":
            self._say(block.get("text"), out)
            for citation in lenient.items(block.get("citations")):
                self._citation(citation, out)
        elif kind == "thinking":
            self._think(index, lenient.text(block.get("thinking")), lenient.text(block.get("signature")), out)
        elif kind == "redacted_thinking":
            kept = {"type": kind, "index": index, "data": lenient.text(block.get("data"))}
            out.append(Reasoning("", details={"thinking_blocks": [kept]}))
        elif kind == "tool_use":
            self._call(index, block, out)
        elif kind == "image":
            self._image(lenient.mapping(block.get("source")), out)
        elif kind == "web_search_tool_result":
            for result in lenient.items(block.get("content")):
                self._citation(result, out)
        elif not isinstance(kind, str):
            self.lost += 1

    def _call(self, index: int, block: Json, out: list[Event]) -> None:
        given = block.get("input")
        arguments = msgspec.json.encode(given).decode() if given else ""
        place = len(self._calls)
        self._calls[index] = [place, bool(arguments)]
        out.append(
            ToolCall(place, lenient.text(block.get("id")) or None, lenient.text(block.get("name")) or None, arguments)
        )

    def _add(self, index: int, delta: Json, out: list[Event]) -> None:
        kind = delta.get("type")
        if kind == "text_delta":
            self._say(delta.get("text"), out)
        elif kind == "thinking_delta":
            self._think(index, lenient.text(delta.get("thinking")), "", out)
        elif kind == "signature_delta":
            self._think(index, "", lenient.text(delta.get("signature")), out)
        elif kind == "input_json_delta":
            call, piece = self._calls.get(index), lenient.text(delta.get("partial_json"))
            # The arguments of the provider's own tools have no call here.
            if call is not None and piece:
                call[1] = True
                out.append(ToolCall(call[0], arguments=piece))
        elif kind == "citations_delta":
            self._citation(delta.get("citation"), out)
        else:
            self.lost += 1

    def _end(self, index: int, out: list[Event]) -> None:
        call = self._calls.get(index)
        if call is not None and not call[1]:
            call[1] = True
            out.append(ToolCall(call[0], arguments="{}"))

    def _say(self, text: Any, out: list[Event]) -> None:
        if not isinstance(text, str):
            self.lost += 1
        elif text:
            out.append(Text(text))

    def _think(self, index: int, text: str, signature: str, out: list[Event]) -> None:
        if text or signature:
            kept = {"type": "thinking", "index": index, "thinking": text, "signature": signature}
            out.append(Reasoning(text, signature or None, details={"thinking_blocks": [kept]}))

    def _citation(self, citation: Any, out: list[Event]) -> None:
        """A cited page, or a document without an address, of which there is only what the provider said."""
        given = lenient.mapping(citation)
        url = given.get("url", given.get("source"))
        if isinstance(url, str) and url.startswith(("https://", "http://")):
            title, text = lenient.text(given.get("title")), lenient.text(given.get("cited_text"))
            out.append(Source(url, title or None, text or None))
        elif given:
            out.append(Text("", details={"citation": given}))
        else:
            self.lost += 1

    def _image(self, source: Json, out: list[Event]) -> None:
        kind, data, url = (
            lenient.text(source.get("media_type")),
            lenient.text(source.get("data")),
            lenient.text(source.get("url")),
        )
        if url.startswith(("https://", "http://")):
            out.append(Image(url))
        elif kind.startswith("image/") and data:
            out.append(Image(f"data:{kind};base64,{data}"))
        else:
            self.lost += 1

    def _stop(self, given: Json, out: list[Event]) -> None:
        reason = given.get("stop_reason")
        if not isinstance(reason, str):
            return
        explanation = lenient.text(lenient.mapping(given.get("stop_details")).get("explanation"))
        if reason == "refusal" and explanation:
            out.append(Refusal(explanation))
        details = {name: given[name] for name in ("stop_reason", "stop_sequence") if given.get(name) is not None}
        self.finished = True
        out.append(Done(FINISH_REASONS.get(reason, reason), details=details))

    def _measure(self, usage: Any, out: list[Event]) -> None:
        """Usage so far: numbers come in parts, a later one replaces the one before."""
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}
            out.append(_usage(self._usage))

    def _error(self, value: Json) -> list[Event]:
        kind = lenient.mapping(value.get("error")).get("type")
        status = ERROR_STATUSES.get(kind, 502) if isinstance(kind, str) else 502
        self.error = Error(message_of(value), status, value)
        return [self.error]


def _usage(given: Json) -> Usage:
    """Cached tokens count as prompt, as they do for OpenAI."""
    read, written = (
        lenient.count(given.get("cache_read_input_tokens")),
        lenient.count(given.get("cache_creation_input_tokens")),
    )
    prompt = (lenient.count(given.get("input_tokens")) or 0) + (read or 0) + (written or 0)
    thought = lenient.count(lenient.mapping(given.get("output_tokens_details")).get("thinking_tokens"))
    return translated_usage(
        given, prompt, lenient.count(given.get("output_tokens")) or 0, cached=read, reasoning=thought
    )
