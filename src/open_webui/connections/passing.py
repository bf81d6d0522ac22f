"""Answers of Ollama's servers to requests of other wires, which these servers speak themselves: passed on as they come."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import aiohttp
import msgspec

from open_webui.connections.transport import FAILURES, failure, read_all
from open_webui.constants import MAX_PROVIDER_LINE

# Where the wires have the counts: at the top, in an answer of OpenAI's Responses, in the start of one of Anthropic's.
_PLACES: Final = ("response", "message")
_DATA: Final = b"data:"


class Passed:
    """An opened answer. usage: as far as it was told. is_over: it was read to its end. status: of a failure on the way."""

    def __init__(self, response: aiohttp.ClientResponse, url: str) -> None:
        self._response = response
        self._url = url
        self._line = b""
        self.usage: dict[str, Any] | None = None
        self.is_over = False
        self.status: int | None = None

    async def whole(self) -> bytes:
        """All of it. Raises ProviderError."""
        body = await read_all(self._response, self._url)
        self._note(body)
        self.is_over = True
        return body

    async def parts(self) -> AsyncIterator[bytes]:
        """What comes, as it comes. Raises ProviderError."""
        try:
            while part := await self._response.content.readany():
                for line in self._lines(part):
                    self._note(line.removeprefix(_DATA))
                yield part
        except FAILURES as error:
            cut_off = failure(error, self._url, started=True)
            self.status = cut_off.status
            raise cut_off from error
        self.is_over = True

    def _lines(self, part: bytes) -> Iterator[bytes]:
        """The lines that a part completes. One that is too long to hold counts is not kept."""
        *complete, rest = (self._line + part).split(b"\n")
        self._line = rest if len(rest) <= MAX_PROVIDER_LINE else b""
        yield from complete

    def _note(self, text: bytes) -> None:
        if b'"usage"' not in text:
            return
        try:
            told = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        for place in (told, *(told.get(name) for name in _PLACES)) if isinstance(told, dict) else ():
            if isinstance(place, dict) and isinstance(place.get("usage"), dict):
                # Anthropic's wire tells some of them first, and the rest at the end.
                self.usage = {**(self.usage or {}), **place["usage"]}
