"""The child processes that read files: a few at once, and one that fails over a file is not asked again."""

import asyncio
import os
import tempfile
from array import array
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from open_webui.errors import Unavailable
from open_webui.internal.child.process import Child, Lost, Refused
from open_webui.internal.log import get_logger
from open_webui.retrieval.parsing.base import Parsed, ParseError
from open_webui.retrieval.parsing.call import CONTENT, TOKENS, Call

log = get_logger(__name__)
AT_ONCE: Final = 2
IDLE_SECONDS: Final = 60.0
# Text in pictures takes some seconds a page; all else is a matter of milliseconds.
SECONDS: Final = 900.0
_MODULE: Final = "open_webui.retrieval.parsing.reader"
_TESSDATA: Final = "TESSDATA_PREFIX"


class Readers:
    """Processes with one file each, `AT_ONCE` of them at most, started when needed. To be used from one event loop."""

    def __init__(self, *, module: str = _MODULE, seconds: float = SECONDS) -> None:
        """module: what the processes run. seconds: that one file may take."""
        self._module = module
        self._seconds = seconds
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._free: list[Child] = []
        self._all: set[Child] = set()

    async def read(self, content: AsyncIterator[bytes], kind: str, name: str, *, pictures: bool) -> Parsed:
        """The text of a file. Raises ParseError, Refused where the process lacks what it would read it with.

        A file that ends its process, by a crash or by its limits, is not tried again. Cancelling ends it, too.
        """
        answer = await self._call(content, Call(kind, name, "", pictures))
        return await asyncio.to_thread(msgspec.msgpack.decode, answer, type=Parsed)

    async def token_ends(self, text: str, name: str, tokenizer: Path) -> "array[int] | None":
        """Where each token of a text ends, by a tokenizer's file; None, with a line in the log, where that can't be used."""

        async def content() -> AsyncIterator[bytes]:
            yield await asyncio.to_thread(text.encode)

        try:
            answer = await self._call(content(), Call(TOKENS, name, "", tokenizer=str(tokenizer)))
        except (Refused, ParseError) as error:
            log.warning("tokens are estimated", why=str(error))
            return None
        ends = array("I")
        ends.frombytes(answer)
        return ends

    async def _call(self, content: AsyncIterator[bytes], call: Call) -> bytes:
        async with self._turns:
            child = self._free.pop() if self._free else self._start()
            well = False
            try:
                with await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="oui-reader-") as folder:
                    await _write(Path(folder) / CONTENT, content)
                    asked = msgspec.msgpack.encode(msgspec.structs.replace(call, folder=folder))
                    answer = await child.call(asked, timeout=self._seconds)
                well = True
                return answer
            except Refused:
                well = True
                raise
            except Lost as error:
                raise ParseError(f"'{call.name}' can't be read: {error.detail[0].lower()}{error.detail[1:]}") from None
            except Unavailable as error:
                raise ParseError(f"'{call.name}' can't be read now: {error.detail}", final=False) from None
            finally:
                if well:
                    self._free.append(child)
                else:
                    self._all.discard(child)
                    await asyncio.shield(child.close())

    async def close(self) -> None:
        """Ends all of them, whatever they are doing."""
        await asyncio.gather(*(child.close() for child in self._all))

    def _start(self) -> Child:
        child = Child(
            self._module, "The process that reads files", idle_seconds=IDLE_SECONDS, environment=_environment()
        )
        self._all.add(child)
        return child


def _environment() -> dict[str, str]:
    return {_TESSDATA: os.environ[_TESSDATA]} if _TESSDATA in os.environ else {}


async def _write(path: Path, content: AsyncIterator[bytes]) -> None:
    file: BinaryIO = await asyncio.to_thread(path.open, "xb")
    with file:
        async for part in content:
            await asyncio.to_thread(file.write, part)
