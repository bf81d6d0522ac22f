"""Calls to services of speech that an admin configured: one place for their keys, their limits and their sentences."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec

from open_webui.audio.base import MAX_SPEECH, NoEngine, Speech
from open_webui.connections.services import call_service, open_service
from open_webui.connections.transport import read_all
from open_webui.errors import ProviderError
from open_webui.utils.base64s import from_base64, in_turn

# Seconds for speech of one text, for a transcript of one recording, and for a list.
SPEAKING: Final = 120.0
LISTENING: Final = 600.0
LISTING: Final = 10.0
ODD: Final = "{} answered with something that is {}. Check its address in the settings of audio."
# Types by which some services call whatever they send.
_ANY: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})
MIMES: Final[Mapping[str, str]] = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "pcm": "audio/pcm",
}


class Service:
    """One service."""

    def __init__(
        self, http: aiohttp.ClientSession, called: str, address: str, headers: Mapping[str, str], key: str
    ) -> None:
        """called: its name in sentences, at their beginning. key: what no sentence may show.

        Raises NoEngine where there is no address.
        """
        if not address.startswith(("http://", "https://")):
            raise NoEngine(f"{called} has no address: an administrator sets it in the settings of audio.")
        self.called = called
        self.address = address.rstrip("/")
        self._http = http
        self._headers = dict(headers)
        self._key = key

    def sending(
        self, path: str, *, payload: Any = None, data: Any = None, headers: Mapping[str, str] | None = None,
        timeout: float = SPEAKING,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:  # fmt: skip
        """An open response to a POST. Raises ProviderError."""
        return open_service(
            self._http,
            "POST",
            self.address + path,
            headers={**self._headers, **(headers or {})},
            payload=payload,
            data=data,
            timeout=timeout,
            secrets=(self._key,),
        )

    async def sent(self, path: str, **given: Any) -> Any:
        """The JSON that a POST is answered with; given: as for `sending`. Raises ProviderError."""
        async with self.sending(path, **given) as response:
            return self.decoded(await read_all(response, self.address))

    async def got(self, path: str) -> Any:
        """The JSON that a GET is answered with. Raises ProviderError."""
        answer = await call_service(
            self._http,
            "GET",
            self.address + path,
            headers=self._headers,
            timeout=LISTING,
            secrets=(self._key,),
            tries=1,
        )
        return self.decoded(answer)

    def decoded(self, answer: bytes) -> Any:
        """Raises ProviderError for what is no JSON."""
        try:
            return msgspec.json.decode(answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self.odd("not JSON") from None

    def odd(self, what: str) -> ProviderError:
        """For an answer that is not what it should be."""
        return ProviderError(ODD.format(self.called, what))

    @contextlib.asynccontextmanager
    async def speech(
        self, path: str, payload: Any, form: str, *, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Speech]:
        """The speech of an answer, as it comes. form: what it is where the answer does not say. Raises ProviderError."""
        async with self.sending(path, payload=payload, data=data, headers=headers) as response:
            mime = response.content_type.lower()
            if mime == "application/json":
                yield await self._inside(await read_all(response, self.address, MAX_SPEECH * 2), form)
            elif mime.startswith("audio/") or mime in _ANY:
                kind = mime if mime.startswith("audio/") else MIMES.get(form, "audio/mpeg")
                yield Speech(kind, self._bounded(response))
            else:
                raise self.odd(f"no speech ({mime[:100]})")

    async def _bounded(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        size = 0
        while piece := await response.content.readany():
            size += len(piece)
            if size > MAX_SPEECH:
                raise ProviderError(f"{self.called} gives more speech than the server takes.")
            yield piece
        if not size:
            raise self.odd("no speech")

    async def _inside(self, answer: bytes, form: str) -> Speech:
        """Speech in the base64 of a JSON answer, as Mistral gives it."""
        body = self.decoded(answer)
        given = body.get("audio_data") if isinstance(body, dict) else None
        try:
            whole = bytes(await in_turn(from_base64, given if isinstance(given, str) else ""))
        except ValueError:
            whole = b""
        if not whole:
            raise self.odd("no speech")
        return Speech(MIMES.get(form, "audio/mpeg"), _once(whole))


async def _once(whole: bytes) -> AsyncIterator[bytes]:
    yield whole


def needed(key: str, called: str) -> str:
    """A key. Raises NoEngine where there is none."""
    if not key:
        raise NoEngine(f"{called} needs a key: an administrator sets it in the settings of audio.")
    return key


def segment(name: str) -> str:
    """A name as a part of an address."""
    return quote(name, safe="")
