"""Reads a file of any kind into text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final

from llamaforge.exceptions import how_to_install
from open_webui.internal.child.process import Refused
from open_webui.retrieval.parsing.base import Parsed, ParseError, finished
from open_webui.retrieval.parsing.call import MISSING
from open_webui.retrieval.parsing.kinds import HEAD, TEXTS, kind_of
from open_webui.retrieval.parsing.readers import Readers

if TYPE_CHECKING:
    import aiohttp

    from open_webui.config import Config

Content = Callable[[], AsyncIterator[bytes]]
# Bytes of a text that is read here, in a thread; larger ones, and all else, in a child process.
SMALL: Final = 256 * 1024
# Bytes of a file that is read at all: of a text, and of anything else.
MAX_TEXT_FILE: Final = 50_000_000
MAX_FILE: Final = 200_000_000


async def parse(
    content: Content,
    *,
    name: str,
    mime: str,
    size: int,
    config: Config,
    http: aiohttp.ClientSession,
    readers: Readers | None = None,
) -> Parsed:
    """The text of a file. Raises ParseError, whose sentence says what is wrong with the file or with who reads it.

    content: opens the file and gives its bytes, any number of times. name, mime: what it is called, and its type as it was
    handed in ("" for none); what it is, its first bytes say. size: in bytes. readers: the processes for what is not
    read here; without them one is started for this file alone.
    """
    if size == 0:
        raise ParseError(f"'{name}' is empty.")
    head = await _read(content, size if size <= SMALL else HEAD)
    kind = kind_of(head[:HEAD], name, mime)
    largest = MAX_TEXT_FILE if kind in TEXTS else MAX_FILE
    if size > largest:
        raise ParseError(f"'{name}' is larger than {largest // 1_000_000} MB, the most that is read of such a file.")
    if kind in TEXTS and size <= SMALL:
        return finished(await asyncio.to_thread(_plain, head, kind, name), name)
    if kind not in TEXTS and config["rag.content_extraction_engine"]:
        # Imported with the first such file: most servers have no such service.
        from open_webui.retrieval.parsing.engines import Document, engine_for  # noqa: PLC0415

        if (engine := engine_for(config, kind, name)) is not None:
            answer = await engine(Document(content, kind, name, mime, size), config, http)
            return finished(await asyncio.to_thread(answer), name)
    used = readers or Readers()
    try:
        return await used.read(content(), kind, name, pictures=config["rag.pdf_extract_images"])
    except Refused as refused:
        raise ParseError(_missing(name, kind) if str(refused) == MISSING else str(refused)) from None
    finally:
        if readers is None:
            await used.close()


def _plain(whole: bytes, kind: str, name: str) -> Parsed:
    """Imported with the first text: a server without files needs no memory for it."""
    from open_webui.retrieval.parsing.plain import parse_plain  # noqa: PLC0415

    return parse_plain(whole, kind, name)


def _missing(name: str, kind: str) -> str:
    what = "a picture" if kind == "picture" else f"a file of the kind {kind}"
    return (
        f"'{name}' is {what}, which is read by an extra that this server does not have. Install it with:"
        f" {how_to_install('documents')}"
    )


async def _read(content: Content, size: int) -> bytes:
    """The first `size` bytes of a file, a little more where a part of it goes on, fewer where it is shorter."""
    read = bytearray()
    async for part in (parts := content()):
        read += part
        if len(read) >= size:
            break
    if hasattr(parts, "aclose"):
        await parts.aclose()
    return bytes(read)
