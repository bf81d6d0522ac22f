"""OpenAI chat chunks as they pass by: kept if they are JSON, watched for errors and the end; to and from whole answers."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from open_webui.connections.sse import SseReader
from open_webui.errors import ProviderError

_encode: Final = msgspec.json.encode
TOO_LONG: Final = "The provider sent a line that is longer than the server accepts."
CUT_OFF: Final = "The answer was cut off: the provider ended the connection before its answer was over."
NOT_UNDERSTOOD: Final = "The provider's answer could not be understood: it is not in the form of OpenAI's API."


class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    """What must be known of each chunk; decoding it proves that the rest is JSON."""

    choices: list[_Choice] | None = None
    error: msgspec.Raw = msgspec.Raw()


_decode: Final = msgspec.json.Decoder(_Chunk).decode


class ChunkReader:
    """From the bytes of an event stream to the JSON texts of its chunks.

    error: an error that the provider sent inside the stream; nothing after it counts. finished: a finish reason was
    seen. dropped: how many events were left out because they are no JSON objects of the expected form.
    """

    __slots__ = ("_sse", "dropped", "error", "finished")

    def __init__(self) -> None:
        self._sse = SseReader()
        self.error: ProviderError | None = None
        self.finished = False
        self.dropped = 0

    @property
    def done(self) -> bool:
        return self._sse.done

    def feed(self, read: bytes) -> list[bytes]:
        """The chunks that these bytes complete."""
        chunks = self._checked(self._sse.feed(read))
        if self._sse.too_long and self.error is None:
            self.error = ProviderError(TOO_LONG)
        return chunks

    def close(self) -> list[bytes]:
        """At the end of the body: what was left. Ask `check_end` afterwards."""
        chunks = self._checked(self._sse.close())
        if self._sse.too_long and self.error is None:
            self.error = ProviderError(TOO_LONG)
        if self._sse.stray and self.error is None and not self.done:
            self.error = error_of(b"\n".join(self._sse.stray))
        return chunks

    def check_end(self) -> None:
        """Raises ProviderError when the stream ended before its answer did."""
        if self.error is not None:
            raise self.error
        if not self.done and not self.finished:
            raise ProviderError(CUT_OFF, retryable=True)

    def _checked(self, events: list[bytes]) -> list[bytes]:
        good = []
        for event in events:
            if self.error is not None:
                break
            try:
                chunk = _decode(event)
                if not event.isascii():
                    # Skipped strings are not looked into by the decoder.
                    event.decode()
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self.dropped += 1
                continue
            if chunk.error and (error := error_of(event)) is not None:
                self.error = error
                break
            for choice in chunk.choices or ():
                if choice.finish_reason:
                    self.finished = True
            good.append(event)
        return good


def error_of(body: bytes) -> ProviderError | None:
    """The error that a JSON text tells of, in any of the forms in which providers do; None when it tells of none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(value, dict) or not value.get("error"):
        return None
    error = value["error"]
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599 else 502
    return ProviderError(
        f"The provider reported an error: {message_of(value) or 'it gave no reason'}",
        status=status,
        body=value,
        retryable=status == 429 or status >= 500,
    )


def message_of(body: Any) -> str | None:
    """The sentence in a provider's error body, at most 2,000 characters of it."""
    for _ in range(4):
        if isinstance(body, list) and body:
            body = body[0]
        if isinstance(body, str):
            return body.strip()[:2_000] or None
        if not isinstance(body, dict):
            return None
        body = next((body[key] for key in ("error", "message", "detail", "msg") if body.get(key)), None)
    return None


def to_chunks(whole: dict[str, Any]) -> list[bytes]:
    """A whole chat completion as the chunks in which it could have been streamed. Raises ProviderError."""
    base: dict[str, Any] = {k: whole[k] for k in ("id", "created", "model", "system_fingerprint") if k in whole}
    base["object"] = "chat.completion.chunk"
    choices = whole.get("choices")
    if not isinstance(choices, list):
        raise ProviderError(NOT_UNDERSTOOD, body=whole)
    chunks = []
    for choice in choices:
        if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
            raise ProviderError(NOT_UNDERSTOOD, body=whole)
        delta, index = dict(choice["message"]), choice.get("index", 0)
        if isinstance(delta.get("tool_calls"), list):
            delta["tool_calls"] = [
                {"index": n, **call} for n, call in enumerate(delta["tool_calls"]) if isinstance(call, dict)
            ]
        kept = {k: v for k, v in choice.items() if k not in {"message", "finish_reason", "index"}}
        chunks.append(base | {"choices": [{"index": index, "delta": delta, "finish_reason": None, **kept}]})
        reason = choice.get("finish_reason") or "stop"
        chunks.append(base | {"choices": [{"index": index, "delta": {}, "finish_reason": reason}]})
    if whole.get("usage") is not None:
        chunks.append(base | {"choices": [], "usage": whole["usage"]})
    return [_encode(chunk) for chunk in chunks]


class _Message:
    """A choice that is being put together from its deltas."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.calls: dict[int, dict[str, Any]] = {}
        self.rest: dict[str, Any] = {}
        self.finish_reason: str | None = None

    def add(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta")
        for key, value in (delta if isinstance(delta, dict) else {}).items():
            if key == "tool_calls":
                for part in value if isinstance(value, list) else ():
                    self._call(part)
            elif key != "role" and isinstance(value, str):
                self.texts.setdefault(key, []).append(value)
            elif value is not None:
                self.rest[key] = value
        self.finish_reason = choice.get("finish_reason") or self.finish_reason

    def _call(self, part: Any) -> None:
        if not isinstance(part, dict):
            return
        index = part.get("index")
        call = self.calls.setdefault(
            index if isinstance(index, int) else len(self.calls),
            {"id": None, "type": "function", "function": {"name": "", "arguments": ""}},
        )
        call["id"] = part.get("id") or call["id"]
        function = part.get("function")
        for key in ("name", "arguments"):
            text = function.get(key) if isinstance(function, dict) else None
            if isinstance(text, str):
                call["function"][key] += text

    def whole(self, index: int) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": None, **self.rest}
        message |= {key: "".join(parts) for key, parts in self.texts.items()}
        if self.calls:
            message["tool_calls"] = [self.calls[n] for n in sorted(self.calls)]
        return {"index": index, "message": message, "finish_reason": self.finish_reason or "stop"}


def assemble(chunks: Iterable[bytes]) -> bytes:
    """One chat completion, as JSON, out of its chunks."""
    whole: dict[str, Any] = {"id": "", "object": "chat.completion", "created": 0, "model": "", "choices": []}
    messages: dict[int, _Message] = {}
    for raw in chunks:
        chunk = msgspec.json.decode(raw)
        whole |= {k: chunk[k] for k in ("id", "created", "model", "usage", "system_fingerprint") if chunk.get(k)}
        for choice in chunk.get("choices") or ():
            index = choice.get("index", 0)
            messages.setdefault(index if isinstance(index, int) else 0, _Message()).add(choice)
    whole["choices"] = [messages[index].whole(index) for index in sorted(messages)]
    return _encode(whole)
