"""Formats of other APIs around a chat: their requests become chat requests, the answers to these become theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from llamaforge.backends.base import COUNT_PATH
from llamaforge.events.openai import Decoder, error_in
from llamaforge.formats import anthropic_server, responses
from llamaforge.formats.rendering import Renderer, encode
from llamaforge.server import bodies
from llamaforge.server.errors import Refusal

Json = dict[str, Any]
# A status and a sentence as the body of an error.
WriteError = Callable[[int, str], bytes]


@dataclass(frozen=True, slots=True)
class Format:
    """decode: a request as a chat request; raises ParameterError. renderer: from the model's name and the request.

    Without a renderer, the question is how many tokens the request has.
    """

    decode: Callable[[bytes], Json]
    renderer: Callable[[str, bytes], Renderer] | None = None


FORMATS: Final[Mapping[str, Format]] = {
    "/v1/messages": Format(anthropic_server.decode_request, lambda model, _: anthropic_server.Renderer(model)),
    "/v1/messages/count_tokens": Format(partial(anthropic_server.decode_request, only_counted=True)),
    "/v1/responses": Format(
        responses.decode_request, lambda model, data: responses.Renderer(model, bodies.parse(data))
    ),
    "/v1/responses/input_tokens": Format(responses.decode_request),
    COUNT_PATH: Format(bodies.parse),
}


def error_writer(path: str) -> WriteError | None:
    """How the API that a path belongs to writes errors; None for OpenAI's way."""
    return anthropic_server.error_body if path.startswith("/v1/messages") else None


class WholeAnswer:
    """An answer that is not streamed and has one shape everywhere, but for its errors. See answers.Answer."""

    streams = False
    passes = True
    takes_whole = True

    def __init__(self, write_error: WriteError | None) -> None:
        self._write_error = write_error

    def feed(self, payload: bytes) -> bytes:
        raise NotImplementedError

    def end(self) -> bytes:
        raise NotImplementedError

    def whole(self, status: int, body: bytes) -> bytes:
        if self._write_error is None or status < 400:
            return body
        error = error_in(body)
        return self._write_error(status, (error and error.detail) or "The model failed.")

    def broken(self, refusal: Refusal) -> bytes:
        return self.whole(refusal.status, refusal.body)


class TranslatedAnswer(WholeAnswer):
    """The answer of a chat in another API's shape."""

    passes = False

    def __init__(self, renderer: Renderer, write_error: WriteError | None, *, streams: bool) -> None:
        super().__init__(write_error)
        self.streams = streams
        self._renderer = renderer
        self._decoder = Decoder()
        self._begun = False

    def feed(self, payload: bytes) -> bytes:
        if self._decoder.error is not None:
            return b""
        first = self._begin() if self.streams else b""
        out = first + b"".join([self._renderer.add(event) for event in self._decoder.decode(payload)])
        if self.streams:
            return out
        if self._decoder.error is not None:
            raise Refusal.of_event(self._decoder.error)
        return b""

    def end(self) -> bytes:
        if self._decoder.error is not None:
            return b""
        if not self._decoder.finished:
            refusal = Refusal(502, "The model stopped before its answer was finished.", "server_error")
            if self.streams:
                return self.broken(refusal)
            raise refusal
        return self._begin() + self._renderer.end() if self.streams else encode(self._renderer.whole())

    def whole(self, status: int, body: bytes) -> bytes:
        return super().whole(status, body) if status >= 400 else self.feed(body) + self.end()

    def broken(self, refusal: Refusal) -> bytes:
        return self._begin() + self._renderer.error(refusal.status, refusal.message)

    def _begin(self) -> bytes:
        """The beginning, once."""
        if self._begun:
            return b""
        self._begun = True
        return self._renderer.begin()
