"""OpenAI's event streams: chunks that pass by as bytes, kept if they are JSON; or read as events. Both see errors and the end."""

from abc import ABC, abstractmethod
from typing import Any, Final, Generic, TypeVar

import msgspec

from llamaforge.events import Error, Event
from llamaforge.events.openai import (
    FAILED,
    UNREADABLE,
    Decoder,
    as_error,
    error_in,
    error_of_choice,
    is_broken,
    said_aside,
)
from llamaforge.events.repair import Repair
from open_webui.connections.sse import SseReader
from open_webui.errors import ProviderError

T = TypeVar("T")
_NULL: Final = msgspec.Raw(b"null")
_encode: Final = msgspec.json.encode
TOO_LONG: Final = "The provider sent a line that is longer than the server accepts."
CUT_OFF: Final = "The answer was cut off: the provider ended the connection before its answer was over."
PARTS_MISSING: Final = "Parts of the provider's answer could not be read ({}) and are missing."
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

    @property
    @abstractmethod
    def unreadable(self) -> int:
        """How many whole chunks were left out, and their words with them."""

    @property
    @abstractmethod
    def aside(self) -> bytes | None:
        """The last chunk, if it has no choices: a provider may have said there why it gave up."""

    @abstractmethod
    def _read(self, texts: list[bytes]) -> list[T]:
        """What the JSON texts of whole chunks are."""

    def feed(self, read: bytes) -> list[T]:
        """What these bytes complete."""
        found = self._read(self._sse.feed(read))
        if self._sse.is_over:
            self._look_at_end()
        return found

    def _look_at_end(self) -> None:
        if self.error is None and self._sse.too_long:
            self.error = ProviderError(TOO_LONG)
        if self.error is None and (failed := self._sse.failed) is not None:
            self.error = error_of(failed) or provider_error(_as_error(failed))

    def told_at_end(self) -> list[T]:
        """What is to be said after a good end."""
        return []

    def close(self) -> list[T]:
        """At the end of the body: what was left. Ask `check_end` afterwards."""
        found = self._read(self._sse.close())
        self._look_at_end()
        if self._sse.stray and self.error is None and not self.done:
            self.error = error_of(b"\n".join(self._sse.stray))
        return found

    def check_end(self) -> None:
        """Raises ProviderError when the stream ended before its answer did."""
        if self.error is not None:
            raise self.error
        if not self.finished and (error := said_aside(self.aside)) is not None:
            raise provider_error(error)
        if not self.done and not self.finished:
            raise ProviderError(CUT_OFF, retryable=True)
        if self.unreadable:
            raise ProviderError(PARTS_MISSING.format(self.unreadable))


class ChunkReader(StreamReader[bytes]):
    """From the bytes of an event stream to the JSON texts of its chunks, to be passed on as they are.

    error: an error that the provider sent inside the stream; nothing after it counts. dropped: how many events were
    left out because they are no JSON. What is nearly JSON is passed on as JSON, see events.repair.
    """

    def __init__(self) -> None:
        super().__init__()
        self._dropped = self._unreadable = 0
        self._finished = False
        self._aside: bytes | None = None
        self._repair: Repair | None = None

    @property
    def aside(self) -> bytes | None:
        return self._aside

    @property
    def dropped(self) -> int:
        return self._dropped

    @property
    def unreadable(self) -> int:
        return self._unreadable

    @property
    def finished(self) -> bool:
        return self._finished

    def _read(self, texts: list[bytes]) -> list[bytes]:
        good = []
        for given in texts:
            if self.error is not None:
                break
            text, chunk = self._chunk(given)
            if chunk is None:
                continue
            if (chunk.error or not chunk.choices) and b"error" in text:
                self.error = error_of(text)
                if self.error is not None:
                    break
            self._aside = None if chunk.choices else text
            for choice in chunk.choices or ():
                if choice.finish_reason:
                    self._finished = True
                    if choice.finish_reason == FAILED:
                        self.error = provider_error(error_of_choice(text) or Error(None, 502))
            good.append(text)
        return good

    def _chunk(self, text: bytes) -> tuple[bytes, _Chunk | None]:
        """A chunk as it is passed on, and what is known of it; None where it can't be read."""
        if self._repair is None or not self._repair.holds:
            try:
                chunk = _decode(text)
                if not text.isascii():
                    # Skipped strings are not looked into by the decoder.
                    text.decode()
                return text, chunk
            except UNREADABLE:
                pass
        text = self._repaired(text)
        return text, _decoded(text) if text else None

    def _repaired(self, text: bytes) -> bytes:
        """The chunk as a JSON object, empty where it is none. One of an unusual form stays as it is."""
        if self._repair is None:
            try:
                value = msgspec.json.decode(text)
            except UNREADABLE:
                self._repair = Repair()
            else:
                if _is_chunk(value):
                    return text
                self._dropped += 1
                return b""
        value = self._repair.read(text)
        if _is_chunk(value):
            return _encode(value)
        self._dropped += 1
        self._unreadable += value is None and is_broken(text)
        return b""


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
    def aside(self) -> bytes | None:
        return self._decoder.aside

    @property
    def dropped(self) -> int:
        return self._decoder.lost

    @property
    def unreadable(self) -> int:
        return self._decoder.unreadable

    def told_at_end(self) -> list[Event]:
        """That values were lost, if any were."""
        return self._decoder.told_at_end()

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


def _is_chunk(value: Any) -> bool:
    """Whether a client that looks at the choices can do so."""
    choices = value.get("choices") if isinstance(value, dict) else ()
    return choices is None or (isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices))


def _decoded(text: bytes) -> _Chunk:
    """What is known of a chunk, of one of an unusual form as far as it can be read."""
    try:
        return _decode(text)
    except UNREADABLE:
        choices = msgspec.json.decode(text).get("choices") or ()
        reasons = [choice.get("finish_reason") for choice in choices]
        return _Chunk([_Choice(reason) for reason in reasons if isinstance(reason, str)])


def _as_error(failed: bytes) -> Error:
    """What stands in an event that is called an error."""
    try:
        value = msgspec.json.decode(failed)
    except UNREADABLE:
        value = failed.decode(errors="replace")
    return as_error(value, value if isinstance(value, dict) else None)


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
