"""What is in a file: its text, and the pieces that are found. Loaded with the first file that is read."""

import asyncio
from array import array
from typing import Any, Final, Protocol

import aiohttp
import msgspec

from open_webui.access.identify import Identifier
from open_webui.audio.base import Telling
from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import Unavailable
from open_webui.jobs.kinds import GiveUp
from open_webui.models.uploads import Upload
from open_webui.retrieval.onnx.folders import tokenizer_of
from open_webui.retrieval.parsing import parse
from open_webui.retrieval.parsing.base import Parsed, ParseError, finished
from open_webui.retrieval.parsing.readers import Readers
from open_webui.retrieval.splitting import Piece, Splitting, split
from open_webui.services.audio import Audio
from open_webui.services.audio import documents as recordings
from open_webui.storage.base import BlobStore, read_all

# Characters of a text that is split beside the event loop.
LARGE: Final = 50_000
# What is kept of what was taken out of a file, beside its text.
KEPT: Final = ("pages", "title", "markdown")


class Deps(Protocol):
    """What it needs of the state."""

    settings: Settings
    config: Config
    blobs: BlobStore
    http: aiohttp.ClientSession
    readers: Readers
    identifier: Identifier

    @property
    def audio(self) -> Audio: ...


class Read(msgspec.Struct, frozen=True):
    """A text in pieces. splitting: how it was split. kept: what is known of the text besides."""

    text: bytes
    pieces: list[Piece]
    splitting: str
    kept: dict[str, Any]


async def read_file(deps: Deps, upload: Upload, telling: Telling | None = None) -> Read:
    """telling: hears how far listening to a recording is.

    Raises GiveUp for what can't be read, Unavailable and ProviderError for what can't be at the moment; StoreAway, BlobMissing.
    """
    try:
        return await _in_pieces(deps, await _parsed(deps, upload, telling), upload.filename)
    except ParseError as error:
        if error.final:
            raise GiveUp(str(error)) from None
        raise Unavailable(str(error)) from None


async def read_text(deps: Deps, text: str, name: str) -> Read:
    """The same of a text. Raises GiveUp for one that can't be split."""
    try:
        return await _in_pieces(deps, Parsed(text), name)
    except ParseError as error:
        raise GiveUp(str(error)) from None


async def _parsed(deps: Deps, upload: Upload, telling: Telling | None) -> Parsed:
    """As it was taken out before, or as somebody wrote it since; else it is taken out now."""
    if upload.hash is None and recordings.is_recording(deps.config, upload):
        return finished(Parsed(await recordings.text_of(deps, upload, telling)), upload.filename)
    if upload.hash is None:
        return await parse(
            lambda: deps.blobs.read(upload.blob),
            name=upload.filename,
            mime=str(upload.meta.get("content_type") or ""),
            size=upload.size,
            config=deps.config,
            http=deps.http,
            readers=deps.readers,
        )
    text = (await read_all(deps.blobs, upload.hash)).decode(errors="replace")
    values = {"text": text} | {name: value for name, value in upload.data.items() if name in KEPT}
    return msgspec.convert(values, Parsed)


async def _in_pieces(deps: Deps, parsed: Parsed, name: str) -> Read:
    how = Splitting.of(deps.config)
    pieces: list[Piece] = []
    if not deps.config["rag.bypass_embedding_and_retrieval"]:
        how, token_ends = await _counted(deps, parsed.text, name, how)
        if len(parsed.text) <= LARGE:
            pieces = split(parsed, name, how, token_ends)
        else:
            pieces = await asyncio.to_thread(split, parsed, name, how, token_ends)
    values = msgspec.to_builtins(parsed)
    return Read(parsed.text.encode(), pieces, how.signature, {n: values[n] for n in KEPT if values[n]})


async def _counted(deps: Deps, text: str, name: str, how: Splitting) -> "tuple[Splitting, array[int] | None]":
    """Where the tokens of a text end, if a tokenizer counts them, and how it is split: without it, by an estimate."""
    if not how.tokenizer:
        return how, None
    locked = deps.config.locked_by("rag.tokenizer_model") is not None
    file = await asyncio.to_thread(tokenizer_of, how.tokenizer, deps.settings, is_operators=locked)
    ends = None if file is None else await deps.readers.token_ends(text, name, file)
    return (how if ends is not None else msgspec.structs.replace(how, tokenizer="")), ends
