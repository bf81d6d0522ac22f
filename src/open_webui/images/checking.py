"""Pictures checked before they are kept: in a child process with Pillow, or without it by their headers alone."""

import asyncio
import importlib.util
from functools import cache
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest, Unavailable
from open_webui.images.looking import BadPicture, Looks, bare, look
from open_webui.images.port import LARGEST
from open_webui.internal.child.process import Child, Lost, Refused

_MODULE: Final = "open_webui.images.worker"
_IDLE_SECONDS: Final = 60.0
_SECONDS: Final = 30.0
_BIG: Final = 2**18
# Pixels of a thumbnail's longer side.
SIDE: Final = 320
REFUSED: Final = "The picture can't be used. {}"
TOO_LARGE: Final = f"It has more than {LARGEST // 2**20} MB."
CRASHED: Final = "It could not be decoded."


@cache
def has_pillow() -> bool:
    """Whether pictures can be decoded."""
    return importlib.util.find_spec("PIL") is not None


class Checker:
    """Checks pictures. The process is started by the first, and ended when it was idle for a minute."""

    def __init__(self) -> None:
        self._child: Child | None = None

    async def check(self, data: bytes) -> tuple[Looks, bytes]:
        """What a picture is, and the same without its descriptions. Raises BadRequest with the reason."""
        if len(data) > LARGEST:
            raise BadRequest(REFUSED.format(TOO_LARGE))
        try:
            # Headers first: what is no picture starts no process.
            looks = look(data)
            if not has_pillow():
                return looks, await asyncio.to_thread(bare, data, looks.mime)
        except BadPicture as error:
            raise BadRequest(REFUSED.format(error)) from None
        about, out = await self._ask({"do": "check"}, data)
        return msgspec.convert(about, Looks), out

    async def shrink(self, data: bytes) -> bytes | None:
        """A small WebP of it; None where nothing here can make one. Raises BadRequest."""
        if not has_pillow() or len(data) > LARGEST:
            return None
        _, out = await self._ask({"do": "shrink", "side": SIDE}, data)
        return out

    async def fit(self, data: bytes, width: int, height: int) -> tuple[Looks, bytes]:
        """It with at most so many pixels of width and height (0: as it has), upright and without its descriptions, in few
        bytes; one that moves only without them. Raises BadRequest, Unavailable. For who `has_pillow`.
        """
        about, out = await self._ask({"do": "fit", "width": width, "height": height}, data)
        return msgspec.convert(about, Looks), out

    async def made(self, data: bytes) -> bytes:
        """A picture that a model gave, without its descriptions: decoded where that can be done now. Raises BadRequest."""
        try:
            return (await self.check(data))[1]
        except Unavailable:
            try:
                return await asyncio.to_thread(bare, data, look(data).mime)
            except BadPicture as error:
                raise BadRequest(REFUSED.format(error)) from None

    async def _ask(self, asked: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        if self._child is None:
            self._child = Child(_MODULE, "The process that decodes pictures", idle_seconds=_IDLE_SECONDS)
        request = msgspec.json.encode(asked) + b"\n" + data
        try:
            answer = await self._child.call(request, timeout=_SECONDS)
        except Refused as error:
            raise BadRequest(REFUSED.format(error)) from None
        except Lost:
            raise BadRequest(REFUSED.format(CRASHED)) from None
        except Unavailable:
            raise
        head, _, out = answer.partition(b"\n")
        return msgspec.json.decode(head), out

    async def close(self) -> None:
        """Ends the process."""
        if self._child is not None:
            await self._child.close()
