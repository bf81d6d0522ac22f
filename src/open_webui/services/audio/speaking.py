"""Speaking: texts of people, by the engine that the settings choose, remembered for a while."""

import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp
import msgspec

from open_webui.audio.base import MAX_TEXT, Asked, Named, Speaker, Speech
from open_webui.audio.converting import Converter, chosen, forms_of
from open_webui.audio.espeak import EspeakSpeaker
from open_webui.audio.networks import ENGINE as TRANSFORMERS
from open_webui.audio.networks import Networks
from open_webui.audio.remote import MIMES
from open_webui.audio.speakers import speaker_of
from open_webui.audio.voices import ENGINE as PIPER
from open_webui.audio.voices import Voices
from open_webui.config import Config
from open_webui.connections.gate import Gate
from open_webui.env import Settings
from open_webui.errors import BadRequest, Forbidden
from open_webui.internal.log import get_logger
from open_webui.models.base import clean
from open_webui.principal import Principal
from open_webui.storage.base import BlobMissing, BlobStore, StoreAway, read_all

log = get_logger(__name__)
# Bytes of one text's speech that is remembered, and how many are.
_LARGEST: Final = 8 * 2**20
_MOST: Final = 10_000
_MAX_NAME: Final = 300
_SLOWEST, _FASTEST = 0.25, 4.0
# By what a program or a voice of this machine is called and counted, whatever model the settings name.
_MODELS: Final = {"": "espeak-ng", "espeak": "espeak-ng", PIPER: PIPER}
NO_TEXT: Final = "'input' should be the text to speak."
TOO_LONG: Final = f"The text is too long: at most {MAX_TEXT:,} characters are spoken at once. Send it in parts."


class Deps(Protocol):
    """What it needs of the state."""

    config: Config
    settings: Settings
    http: aiohttp.ClientSession
    blobs: BlobStore
    gate: Gate


class _Kept(msgspec.Struct, frozen=True):
    """Where the bytes of remembered speech are. blob: their hash."""

    blob: str
    mime: str
    size: int


class Remembered:
    """Speech that was spoken before, by the hash of all that it depends on. The bytes are blobs that no row refers to, so
    that the collection takes them after an hour; what is asked for again is put anew.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0

    async def find(self, blobs: BlobStore, key: str) -> tuple[str, bytes] | None:
        """Its type and bytes; None where it is not there, or no more."""
        found = self._kept.get(key)
        if found is None:
            return None
        try:
            whole = await read_all(blobs, found.blob)
        except (BlobMissing, StoreAway):
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return found.mime, whole

    async def keep(self, blobs: BlobStore, key: str, mime: str, whole: bytes, most: int) -> None:
        """Remembers it, if it is not too large. most: bytes of all together; the one that was not asked for longest goes."""
        if not 0 < len(whole) <= min(_LARGEST, most):
            return
        try:
            stored = await blobs.put(whole)
        except StoreAway as error:
            log.warning("speech is not remembered", reason=error.detail)
            return
        self._drop(key)
        self._kept[key] = _Kept(stored.hash, mime, stored.size)
        self._size += stored.size
        while self._size > most or len(self._kept) > _MOST:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        if (gone := self._kept.pop(key, None)) is not None:
            self._size -= gone.size


class Speaking:
    """What speaks for people, in one process."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self.espeak = EspeakSpeaker()
        self.voices_here = Voices(deps.settings)
        self.networks = Networks(deps.settings)
        self.converter = Converter(deps.settings)
        self.remembered = Remembered()

    def speak(
        self, principal: Principal, body: dict[str, Any], accept: str = ""
    ) -> AbstractAsyncContextManager[Speech]:
        """The speech of a request (`input`, and if it likes `voice`, `response_format`, `speed`), as it comes. accept: the
        header, which decides the format where the body names none.

        The model is the server's, whichever a request names. Entering raises BadRequest (406 where nothing that the header
        names can be given), Forbidden for a key that may not ask it, NoEngine, ProviderError.
        """
        speaker = self._speaker()
        return self._spoken(principal, _asked(body, self._deps.config, speaker, accept), speaker)

    @contextlib.asynccontextmanager
    async def _spoken(self, principal: Principal, asked: Asked, speaker: Speaker) -> AsyncIterator[Speech]:
        deps = self._deps
        engine = deps.config["audio.tts.engine"] or "espeak"
        check_key(principal, asked.model)
        key = hashlib.sha256(msgspec.json.encode([speaker.identity, asked])).hexdigest()
        most = max(0, deps.config["audio.tts.cache_size"]) * 2**20
        found = await self.remembered.find(deps.blobs, key) if most else None
        if found is not None:
            yield Speech(found[0], _once(found[1]))
            return
        async with deps.gate.audio(principal, engine, asked.model), speaker.speak(asked) as speech:
            given = self._given(speech, asked.form, speaker)
            yield Speech(given.mime, self._noted(key, given, most))

    def _given(self, speech: Speech, form: str, speaker: Speaker) -> Speech:
        """The speech in the format that is asked for, where it can be made of what the engine gives."""
        if form in speaker.forms or form not in forms_of(speaker):
            return speech
        return Speech(MIMES[form], self.converter.converted(form, speech.pieces))

    async def _noted(self, key: str, speech: Speech, most: int) -> AsyncIterator[bytes]:
        """The pieces, which are remembered once all have come."""
        whole: bytearray | None = bytearray()
        async for piece in speech.pieces:
            if whole is not None:
                whole += piece
                whole = whole if len(whole) <= min(_LARGEST, most) else None
            yield piece
        if whole:
            await self.remembered.keep(self._deps.blobs, key, speech.mime, bytes(whole), most)

    def _speaker(self) -> Speaker:
        return speaker_of(self._deps.config, self._deps.http, self.espeak, self.voices_here, self.networks)

    async def close(self) -> None:
        """Ends the processes that speak and convert."""
        await self.voices_here.close()
        await self.networks.close()
        await self.converter.close()

    async def voices(self) -> list[Named]:
        """The voices of the engine. Raises NoEngine, ProviderError."""
        return await self._speaker().voices()

    async def models(self) -> list[Named]:
        """The models of the engine. Raises NoEngine, ProviderError."""
        return await self._speaker().models()


def check_key(principal: Principal, model: str) -> None:
    """Raises Forbidden for a key that may not ask a model of speech."""
    if not principal.may_ask(model):
        raise Forbidden(f"This key may not be used with the model '{model[:100]}'.", status=403)


async def _once(whole: bytes) -> AsyncIterator[bytes]:
    yield whole


def _asked(body: dict[str, Any], config: Config, speaker: Speaker, accept: str) -> Asked:
    text = body.get("input")
    if not isinstance(text, str) or not text.strip():
        raise BadRequest(NO_TEXT)
    if len(text) > MAX_TEXT:
        raise BadRequest(TOO_LONG)
    voice, form, speed = (body.get(name) for name in ("voice", "response_format", "speed"))
    if voice is not None and not (isinstance(voice, str) and len(voice) <= _MAX_NAME):
        raise BadRequest("'voice' should be the name of a voice.")
    if form is not None and form not in MIMES:
        raise BadRequest(f"'response_format' should be one of {', '.join(MIMES)}.")
    if speed is not None and not (
        isinstance(speed, int | float) and not isinstance(speed, bool) and _SLOWEST <= speed <= _FASTEST
    ):
        raise BadRequest(f"'speed' should be between {_SLOWEST:g} and {_FASTEST:g}.")
    engine, model = config["audio.tts.engine"], config["audio.tts.model"]
    # The name of a model on this machine may be a path, which is nobody's business.
    return Asked(
        text=clean(text),
        voice=voice or config["audio.tts.voice"],
        model=_MODELS.get(engine) or (Path(model).name if engine == TRANSFORMERS else model),
        form=form or chosen(accept, forms_of(speaker), speaker.own),
        speed=float(speed or 1.0),
    )
