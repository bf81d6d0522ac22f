"""OpenAI's event streams: chunks that pass by as bytes, kept if they are JSON; or read as events. Both see errors and the end."""

from abc import ABC, abstractmethod
from typing import Any, Final, Generic, TypeVar

import msgspec

from llamaforge.events import Error, Event
from llamaforge.events.openai import UNREADABLE, Decoder, error_in
from open_webui.connections.sse import SseReader
from open_webui.errors import ProviderError

T = TypeVar("T")
_NULL: Final = msgspec.Raw(b"null")
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


class StreamReader(ABC, Generic[T]):
    """What both readers of an OpenAI stream have. says_all: an empty list is told too, as a sign of life."""

    says_all = False

    def __init__(self) -> None:
        self._sse = SseReader()
        self.error: ProviderError | None = None

    @property
    def done(self) -> bool:
        """Whether the terminator was seen."""
        return self._sse.done

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether a finish reason was seen."""

    @property
    @abstractmethod
    def dropped(self) -> int:
        """How much was left out because it has no form that can be used."""

    @abstractmethod
    def _read(self, texts: list[bytes]) -> list[T]:
        """What the JSON texts of whole chunks are."""

    def feed(self, read: bytes) -> list[T]:
        """What these bytes complete."""
        found = self._read(self._sse.feed(read))
        if self._sse.too_long and self.error is None:
            self.error = ProviderError(TOO_LONG)
        return found

    def close(self) -> list[T]:
        """At the end of the body: what was left. Ask `check_end` afterwards."""
        found = self._read(self._sse.close())
        if self._sse.too_long and self.error is None:
            self.error = ProviderError(TOO_LONG)
        if self._sse.stray and self.error is None and not self.done:
            self.error = error_of(b"\n".join(self._sse.stray))
        return found

    def check_end(self) -> None:
        """Raises ProviderError when the stream ended before its answer did."""
        if self.error is not None:
            raise self.error
        if not self.done and not self.finished:
            raise ProviderError(CUT_OFF, retryable=True)


class ChunkReader(StreamReader[bytes]):
    """From the bytes of an event stream to the JSON texts of its chunks, to be passed on as they are.

    error: an error that the provider sent inside the stream; nothing after it counts. dropped: how many events were
    left out because they are no JSON objects of the expected form.
    """

    def __init__(self) -> None:
        super().__init__()
        self._dropped = 0
        self._finished = False

    @property
    def dropped(self) -> int:
        return self._dropped

    @property
    def finished(self) -> bool:
        return self._finished

    def _read(self, texts: list[bytes]) -> list[bytes]:
        good = []
        for text in texts:
            if self.error is not None:
                break
            try:
                chunk = _decode(text)
                if not text.isascii():
                    # Skipped strings are not looked into by the decoder.
                    text.decode()
            except UNREADABLE:
                self._dropped += 1
                continue
            if chunk.error and chunk.error != _NULL and (error := error_of(text)) is not None:
                self.error = error
                break
            for choice in chunk.choices or ():
                if choice.finish_reason:
                    self._finished = True
            good.append(text)
        return good


class EventReader(StreamReader[Event]):
    """From the bytes of an event stream to the events of its chunks.

    error: an error that the provider sent inside the stream; nothing after it counts. dropped: how many values, chunks
    among them, had a form that can't be used.
    """

    says_all = True

    def __init__(self) -> None:
        super().__init__()
        self._decoder = Decoder()

    @property
    def finished(self) -> bool:
        return self._decoder.finished

    @property
    def dropped(self) -> int:
        return self._decoder.lost

    def _read(self, texts: list[bytes]) -> list[Event]:
        found: list[Event] = []
        decoder = self._decoder
        for text in texts:
            if self.error is not None:
                break
            events = decoder.decode(text)
            if decoder.error is not None:
                self.error = provider_error(decoder.error)
                break
            found += events
        return found


def provider_error(error: Error) -> ProviderError:
    """An error that a provider told of inside its answer, as the one to be raised."""
    return ProviderError(
        f"The provider reported an error: {error.detail or 'it gave no reason'}",
        status=error.status,
        body=error.body,
        retryable=error.status == 429 or error.status >= 500,
    )


def error_of(body: bytes) -> ProviderError | None:
    """The error that a JSON text tells of, in any of the forms in which providers do; None when it tells of none."""
    error = error_in(body)
    return None if error is None else provider_error(error)


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
                {**call, "index": n} for n, call in enumerate(delta["tool_calls"]) if isinstance(call, dict)
            ]
        kept = {k: v for k, v in choice.items() if k not in {"message", "finish_reason", "index"}}
        chunks.append(base | {"choices": [{"index": index, "delta": delta, "finish_reason": None, **kept}]})
        reason = choice.get("finish_reason") or "stop"
        chunks.append(base | {"choices": [{"index": index, "delta": {}, "finish_reason": reason}]})
    if whole.get("usage") is not None:
        chunks.append(base | {"choices": [], "usage": whole["usage"]})
    return [_encode(chunk) for chunk in chunks]
