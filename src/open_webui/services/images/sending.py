"""Pictures as models are sent them: no larger than models look at them, upright, and without what they tell of their making.

Each is made so once: what came of it is remembered by what it was made of.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec

from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import BadRequest, Unavailable
from open_webui.images.checking import Checker, has_pillow
from open_webui.images.looking import BadPicture, bare, look
from open_webui.images.port import LARGEST
from open_webui.internal.log import get_logger

log = get_logger(__name__)
# Bytes of a picture that is small enough for a model where its pixels are.
LIGHT: Final = 2 * 2**20
# Bytes that are remembered, pictures, and seconds.
MOST_BYTES: Final = 32 * 2**20
MOST: Final = 1_000
KEPT_SECONDS: Final = 3_600.0
# So many bytes are looked at beside the loop.
_BIG: Final = 2**18


_SIDES: Final = ("file.image_compression_width", "file.image_compression_height")


class Deps(Protocol):
    """What it needs of the state, which is still being opened when this is made."""

    config: Config
    settings: Settings


class Sent(msgspec.Struct, frozen=True):
    """A picture as it is sent. mime: of its bytes."""

    mime: str
    data: bytes


class _Remembered(msgspec.Struct):
    """What came of a picture; sent: None for one that is sent as it is."""

    sent: Sent | None
    at: float


class Sending:
    """Makes pictures fit. What it has made is remembered in this process, up to `MOST_BYTES`."""

    def __init__(self, checker: Checker, deps: Deps) -> None:
        self._checker = checker
        self._deps = deps
        self._made: OrderedDict[tuple[Any, ...], _Remembered] = OrderedDict()
        self._bytes = 0
        self._turn = asyncio.Lock()

    @property
    def scales(self) -> bool:
        """Whether a large picture becomes a smaller one."""
        return has_pillow() and any(self.bounds)

    @property
    def bounds(self) -> tuple[int, ...]:
        """Pixels of width and height that are sent at most; 0: as many as there are."""
        longest = self._deps.settings.chat_picture_max_side
        return tuple(
            min((side for side in (self._deps.config[key], longest) if side is not None and side > 0), default=0)
            for key in _SIDES
        )

    async def fitted(self, data: bytes, mime: str) -> Sent:
        """A picture as it is sent: as it is where it is small and tells nothing, where nothing here can change it, and where
        that failed.
        """
        sent = await self.found(await asyncio.to_thread(_hash, data), mime, _given(data))
        return Sent(mime, data) if sent is None else sent

    async def found(self, key: str, mime: str, read: Callable[[], Awaitable[bytes]]) -> Sent | None:
        """The same of a picture that need not be read where it is remembered; None: it is sent as it is. key: the hash of its
        bytes.
        """
        if mime == "image/gif" or not has_pillow():
            # Scaled, a GIF would lose its movement or grow.
            return None
        place = (key, *self.bounds)
        known = self._known(place)
        if known is None:
            async with self._turn:
                known = self._known(place)
                if known is None:
                    known = _Remembered(await self._make(await read(), *self.bounds), time.monotonic())
                    self._remember(place, known)
        return known.sent

    def _known(self, place: tuple[Any, ...]) -> _Remembered | None:
        known = self._made.get(place)
        if known is not None:
            known.at = time.monotonic()
            self._made.move_to_end(place)
        return known

    def _remember(self, place: tuple[Any, ...], made: _Remembered) -> None:
        self._made[place] = made
        self._bytes += _size(made)
        oldest = time.monotonic() - KEPT_SECONDS
        while self._made:
            first = next(iter(self._made.values()))
            if self._bytes <= MOST_BYTES and len(self._made) <= MOST and first.at >= oldest:
                break
            self._made.popitem(last=False)
            self._bytes -= _size(first)

    async def _make(self, data: bytes, width: int, height: int) -> Sent | None:
        try:
            if len(data) > LARGEST:
                return None
            looks = look(data)
            large = (0 < width < looks.width) or (0 < height < looks.height) or len(data) > LIGHT
            if large:
                about, out = await self._checker.fit(data, width, height)
                return Sent(about.mime, out)
            if len(data) > _BIG:
                tells = await asyncio.to_thread(_tells, data, looks.mime)
            else:
                tells = _tells(data, looks.mime)
            if not tells:
                return None
            about, out = await self._checker.check(data)
            return Sent(about.mime, out)
        except (BadPicture, BadRequest, Unavailable) as error:
            log.info("a picture is sent to a model as it is", reason=str(error))
            return None


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tells(data: bytes, mime: str) -> bool:
    return bare(data, mime) != data


def _size(made: _Remembered) -> int:
    return 0 if made.sent is None else len(made.sent.data)


def _given(data: bytes) -> Callable[[], Awaitable[bytes]]:
    async def read() -> bytes:
        return data

    return read
