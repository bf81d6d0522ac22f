"""Listening: recordings of people, by the engine that the settings choose, within limits of size and time."""

import asyncio
import fnmatch
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import aiohttp
import msgspec

from open_webui import constants
from open_webui.audio.base import Heard, Listener, Part, Recording, Sofar, Telling
from open_webui.audio.listeners import remote_listener
from open_webui.audio.local import LocalListener, Worker, folder_of, has_extra
from open_webui.config import Config
from open_webui.connections.gate import Gate
from open_webui.env import Settings
from open_webui.errors import BadRequest, TooLarge
from open_webui.internal.db import Database
from open_webui.models import files
from open_webui.models.files import NewFile, embedded_id
from open_webui.principal import Principal
from open_webui.services.audio.speaking import check_key
from open_webui.storage.base import PIECE, BlobStore
from open_webui.utils.multipart import Form
from open_webui.utils.multipart import Part as FormPart
from open_webui.utils.pictures import media_type

FORMATS: Final = ("json", "text", "verbose_json")
# Seconds of the parts in which a recording goes to a service that does not take it whole, and their bytes for each second.
_EACH: Final = 600
_BYTES_EACH: Final = 32_000
_MAX_FIELD: Final = 64 * 1024
_MAX_LANGUAGE: Final = 20
# What is listened to where the settings name no types; a type that says nothing is told by the name's ending.
_TYPES: Final = ("audio/*", "video/*", "application/octet-stream", "application/ogg", "")
# As clients write it into a form.
_YES: Final = frozenset({"true", "1"})
_NO: Final = frozenset({"", "false", "0"})
_NO_FILE: Final = "The form has no file in it."


class Deps(Protocol):
    """What it needs of the state."""

    config: Config
    settings: Settings
    http: aiohttp.ClientSession
    database: Database
    blobs: BlobStore
    gate: Gate


class NoRecording(BadRequest):
    """A form without a file."""

    status = 422
    detail = _NO_FILE


class Sent(msgspec.Struct):
    """A form: the recording in its file, and the fields beside it."""

    recording: Recording
    language: str | None = None
    form: str = "json"
    is_streamed: bool = False


class Hearing:
    """What listens for people, in one process."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self.worker = Worker(deps.settings)

    async def close(self) -> None:
        """Ends its process."""
        await self.worker.close()

    async def take(self, content_type: str, body: AsyncIterator[bytes], folder: Path) -> Sent:
        """A form as it arrives, its recording put into a folder. Raises BadRequest, NoRecording, TooLarge."""
        if not content_type.lower().startswith("multipart/form-data"):
            raise NoRecording
        recording: Recording | None = None
        fields: dict[str, str] = {}
        form = Form(content_type, body)
        async for part in form:
            if part.name == "file" and part.filename is not None and recording is None:
                if not is_taken(self._deps.config, part.filename, part.content_type):
                    raise BadRequest(constants.FILE_NOT_SUPPORTED)
                recording = await self._written(part, form, folder / "recording")
            elif part.name in {"language", "response_format", "stream"}:
                fields[part.name] = (await form.text(_MAX_FIELD)).strip()
        if recording is None:
            raise NoRecording
        language = fields.get("language") or None
        if language is not None and (len(language) > _MAX_LANGUAGE or not language.replace("-", "").isalnum()):
            raise BadRequest("'language' should be a code such as 'en'.")
        wanted = fields.get("response_format") or "json"
        if wanted not in FORMATS:
            raise BadRequest(f"'response_format' should be one of {', '.join(FORMATS)}.")
        stream = fields.get("stream", "").lower()
        if stream not in _YES | _NO:
            raise BadRequest("'stream' should be true or false.")
        return Sent(recording, language, wanted, stream in _YES)

    async def _written(self, part: FormPart, form: Form, path: Path) -> Recording:
        most = self._deps.config["audio.stt.max_size"]
        size = 0
        file: BinaryIO = await asyncio.to_thread(path.open, "xb")
        try:
            held = bytearray()
            async for piece in form.content():
                size += len(piece)
                if 0 < most * 2**20 < size:
                    raise TooLarge(f"The recording is larger than {most} MB, the most that is taken.")
                held += piece
                # A visit to the disk costs the loop as much as a piece does; several go at once.
                if len(held) >= PIECE:
                    await asyncio.to_thread(file.write, held)
                    held = bytearray()
            await asyncio.to_thread(file.write, held)
        finally:
            await asyncio.to_thread(file.close)
        if not size:
            raise BadRequest("The recording is empty.")
        return Recording(path=path, name=part.filename or "", mime=part.content_type, size=size)

    async def listen(
        self, principal: Principal, recording: Recording, language: str | None, telling: Telling | None = None
    ) -> Heard:
        """What is said in a recording, from where `telling` has it on. Raises NoEngine, NoSpeech, TooLarge, Forbidden,
        ProviderError.
        """
        config = self._deps.config
        engine = config["audio.stt.engine"]
        telling = telling or Telling()
        listener = self._listener(telling)
        check_key(principal, listener.model)
        by = f"{engine or 'local'} {listener.model} {language or ''}"
        if telling.sofar.by != by:
            telling.sofar = Sofar(by=by)
        async with self._deps.gate.audio(principal, engine or "local", listener.model):
            if listener.largest and recording.size > listener.largest:
                return await self._in_parts(listener, recording, language, telling)
            heard = await listener.listen(recording, language)
        if engine and heard.text:
            # A service's comes whole.
            await telling.said(heard.text)
        return heard

    def _listener(self, telling: Telling) -> Listener:
        deps = self._deps
        if deps.config["audio.stt.engine"]:
            return remote_listener(deps.config, deps.http)
        folder = folder_of(deps.config, deps.settings)
        # A name may be a path, which is nobody's business.
        name = Path(deps.config["audio.stt.whisper_model"] or "base").name
        return LocalListener(self.worker, folder, name, self._max_seconds, telling)

    @property
    def _max_seconds(self) -> int:
        return max(1, int(self._deps.config["audio.stt.max_seconds"]))

    async def _in_parts(
        self, listener: Listener, recording: Recording, language: str | None, telling: Telling
    ) -> Heard:
        """A recording that its service does not take whole: its parts in their order, cut where it is quiet."""
        if not has_extra():
            raise TooLarge(
                f"The recording is larger than the {listener.largest // 1_000_000} MB that the service takes. With the extra"
                " 'speech' this server cuts such recordings; without it, send a shorter one."
            )
        each = min(_EACH, listener.largest // _BYTES_EACH - 1)
        cuts = await self.worker.cut(recording, recording.path.parent, each, self._max_seconds)
        sofar = telling.sofar
        for cut in (cut for cut in cuts if cut.end > sofar.at):
            path = Path(cut.path)
            size = (await asyncio.to_thread(path.stat)).st_size
            part = Recording(path=path, name=path.name, mime="audio/wav", size=size)
            heard = await listener.listen(part, language)
            moved = tuple(
                Part(cut.start + one.start, cut.start + one.end, one.text, one.speaker) for one in heard.parts
            )
            sofar = Sofar(
                cut.end, sofar.by, sofar.language or heard.language, (*sofar.texts, heard.text), sofar.parts + moved
            )
            if heard.text:
                await telling.said(heard.text)
            await telling.keep(sofar)
            await telling.reached(cut.end, cuts[-1].end)
            await asyncio.to_thread(path.unlink)
        return Heard(" ".join(text for text in sofar.texts if text), sofar.language, sofar.at, sofar.parts)

    async def keep(self, principal: Principal, recording: Recording) -> str:
        """Keeps a recording as a file of the asker's; gives its name. Nothing uses it, so it goes after an hour."""
        stored = await self._deps.blobs.put(_read(recording.path))
        head = await asyncio.to_thread(_head, recording.path)
        file_id = embedded_id(principal.id, stored.hash)
        ending = recording.name.rpartition(".")[2].lower() if "." in recording.name else "wav"
        name = f"{file_id}.{ending if ending.isascii() and ending.isalnum() else 'bin'}"
        new = NewFile(file_id, name, stored.hash, stored.size, media_type(head))
        async with self._deps.database.write() as unit:
            await files.add(unit.connection, principal.id, [new])
        return name

    async def transcript(self, principal: Principal, sent: Sent, telling: Telling | None = None) -> dict[str, Any]:
        """What a form is answered with; its recording is kept. Raises as `listen`, StoreAway."""
        heard = await self.listen(principal, sent.recording, sent.language, telling)
        name = await self.keep(principal, sent.recording)
        found: dict[str, Any] = {"text": heard.text, "filename": name}
        if sent.form == "verbose_json":
            found |= {
                "task": "transcribe",
                "language": heard.language,
                "duration": heard.seconds,
                "segments": [_segment(n, part) for n, part in enumerate(heard.parts)],
            }
        return found


def _segment(n: int, part: Part) -> dict[str, Any]:
    told = {"speaker": part.speaker} if part.speaker else {}
    return {"id": n, "start": part.start, "end": part.end, "text": part.text, **told}


async def _read(path: Path) -> AsyncIterator[bytes]:
    file: BinaryIO = await asyncio.to_thread(path.open, "rb")
    try:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece
    finally:
        file.close()


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def is_taken(config: Config, name: str, mime: str) -> bool:
    """Whether a file of this name and type is listened to, as the settings have it."""
    endings = [one.strip().lower().lstrip(".") for one in config["audio.stt.allowed_extensions"] if one.strip()]
    types = [one.strip() for one in config["audio.stt.supported_content_types"] if one.strip()] or _TYPES
    ending, kind = name.rpartition(".")[2].lower(), mime.partition(";")[0].strip().lower()
    return any(fnmatch.fnmatchcase(kind, one) for one in types) and (not endings or ending in endings)
