"""How a client gets an answer that its model streams: the engine's bytes, other chunks, or all of it as one.

A whole answer says nothing until its end. A model is asked for one only where its process can tell that it gets further; else
for a stream, which is put together here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from llamaforge.formats.completions import Rewriter, Whole
from llamaforge.formats.request import Request
from llamaforge.server.errors import Refusal

Json = dict[str, Any]
_DONE = b"[DONE]"
_encode = msgspec.json.Encoder().encode


class Answer(Protocol):
    """One answer on its way to a client.

    streams: the client gets it as it comes. passes: it gets the engine's bytes, and `feed` and `end` are not called.
    takes_whole: of one that is not streamed, whether `whole` makes it of the engine's whole answer.
    """

    streams: bool
    passes: bool
    takes_whole: bool

    def feed(self, payload: bytes) -> bytes:
        """What is sent of a chunk, which comes as JSON. Raises Refusal where it is an error and nothing was sent yet."""

    def end(self) -> bytes:
        """What is sent at the end; the whole answer for a client that gets it at once. Raises Refusal."""

    def whole(self, status: int, body: bytes) -> bytes:
        """What is sent of a body that is not streamed: an error's, or the engine's whole answer. Raises Refusal."""

    def broken(self, refusal: Refusal) -> bytes:
        """What is sent of an error after the stream has begun; it is the end."""


class OpenAIAnswer:
    """In the shape of OpenAI's completions and chat completions. See Answer."""

    def __init__(self, request: Request) -> None:
        self.streams = request.stream
        self._rewriter = Rewriter(request)
        # Probabilities are no events: their chunks are read in full.
        is_probable = any(request.parameters.get(name) for name in ("logprobs", "n_probs"))
        self._rewrites = self._rewriter.is_needed or (not request.stream and is_probable)
        self.passes = self.streams and not self._rewrites
        self.takes_whole = not self._rewriter.is_needed
        self._include_usage = request.include_usage
        self._whole = Whole()

    def feed(self, payload: bytes) -> bytes:
        if not self._rewrites:
            self._whole.read(payload)
        else:
            chunk = self._rewritten(payload)
            if chunk is None:
                return b""
            if self.streams:
                return event(chunk)
            self._whole.add(chunk)
        if self._whole.error is not None:
            raise Refusal.of_event(self._whole.error)
        return b""

    def _rewritten(self, payload: bytes) -> Json | None:
        try:
            return self._rewriter.feed(msgspec.json.decode(payload, type=Json))
        except msgspec.DecodeError:  # an engine's `null` before several choices
            return None

    def end(self) -> bytes:
        last = self._rewriter.end() if self._rewrites else None
        if self.streams:
            usage = event(last) if last is not None and self._include_usage else b""
            return usage + b"data: [DONE]\n\n"
        if last is not None:
            self._whole.add(last)
        if not self._whole.is_finished:
            raise Refusal(502, "The model stopped before its answer was finished.", "server_error")
        return _encode(self._whole.value())

    def whole(self, status: int, body: bytes) -> bytes:
        if status >= 400 or self.streams:
            return body
        self._whole.read(body)
        if self._whole.error is not None:
            raise Refusal.of_event(self._whole.error)
        return self.end()

    def broken(self, refusal: Refusal) -> bytes:
        return refusal.event


def event(chunk: Json) -> bytes:
    """A chunk as an event of a stream."""
    return b"data: " + _encode(chunk) + b"\n\n"


def payloads_in(events: bytes) -> Iterator[bytes]:
    """The JSON of each chunk in whole events of a stream, without its end mark and comments."""
    for line in events.split(b"\n"):
        if line.startswith(b"data:") and (data := line[5:].strip()) != _DONE:
            yield data
