"""Recordings among the files that people upload: their text is what is said in them."""

import asyncio
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from open_webui.access.identify import Identifier
from open_webui.audio.base import Recording, Telling
from open_webui.audio.local import room
from open_webui.config import Config
from open_webui.errors import OuiError, ProviderError
from open_webui.jobs.kinds import GiveUp
from open_webui.models.uploads import Upload
from open_webui.services.audio import Audio
from open_webui.services.audio.hearing import is_taken
from open_webui.storage.base import BlobStore, StoreAway

# By their names. Types tell less: browsers call TypeScript a film.
ENDINGS: Final = frozenset(
    "mp3 wav m4a webm ogg oga opus flac mp4 m4v mpga mpeg mpg mov mkv avi aac aiff aif amr wma 3gp".split()
)
NOBODY: Final = "The account that the recording belongs to may not have recordings listened to."
NO_WORDS: Final = "Nothing is said in the recording."


class Deps(Protocol):
    """What it needs of the state."""

    config: Config
    blobs: BlobStore
    identifier: Identifier

    @property
    def audio(self) -> Audio: ...


def is_recording(config: Config, upload: Upload) -> bool:
    """Whether a file is one that is listened to, by its name, its type and the settings."""
    kind = str(upload.meta.get("content_type") or "")
    ending = upload.filename.rpartition(".")[2].lower()
    return (ending in ENDINGS or kind.startswith("audio/")) and is_taken(config, upload.filename, kind)


async def text_of(deps: Deps, upload: Upload, telling: Telling | None = None) -> str:
    """What is said in it, from where `telling` has it on.

    Raises GiveUp for what can't be listened to, ProviderError for what may be later; StoreAway.
    """
    owner = None if upload.user_id is None else await deps.identifier.account(upload.user_id)
    if owner is None or not owner.may("chat.stt"):
        raise GiveUp(NOBODY)
    async with room() as folder:
        path = folder / "recording"
        await _write(deps.blobs, upload.blob, path)
        kind = str(upload.meta.get("content_type") or "")
        recording = Recording(path=path, name=upload.filename, mime=kind, size=upload.size)
        try:
            heard = await deps.audio.hearing.listen(owner, recording, None, telling)
        except (ProviderError, StoreAway):
            raise
        except OuiError as error:
            raise GiveUp(error.detail) from None
    if not heard.text.strip():
        raise GiveUp(NO_WORDS)
    return heard.text


async def _write(blobs: BlobStore, key: str, path: Path) -> None:
    file: BinaryIO = await asyncio.to_thread(path.open, "xb")
    try:
        async for piece in blobs.read(key):
            await asyncio.to_thread(file.write, piece)
    finally:
        await asyncio.to_thread(file.close)
