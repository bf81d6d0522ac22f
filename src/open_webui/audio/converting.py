"""Formats of speech: which one a client is given, and WAV made into another by a process of its own, which is started by the
first speech that needs it and ends after a while without any.
"""

import functools
import importlib.util
import itertools
import re
import struct
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Final

import msgspec

from open_webui.audio.base import Speaker
from open_webui.audio.encoder.calls import Portion
from open_webui.audio.remote import MIMES
from open_webui.env import Settings
from open_webui.errors import BadRequest, Unavailable
from open_webui.internal.child.process import Child, Lost, Refused

MODULE: Final = "open_webui.audio.encoder"
WAV: Final = frozenset({"wav"})
NOT_THERE: Final = "The header 'Accept' names no type that this speech can be given in: there is {}."
FAILED: Final = "The speech could not be converted. {}"
# Other names of the types.
_TYPES: Final[Mapping[str, str]] = {mime: form for form, mime in MIMES.items()} | {
    "audio/x-wav": "wav", "audio/wave": "wav", "audio/vnd.wave": "wav", "audio/mp3": "mp3", "audio/opus": "opus",
    "application/ogg": "opus", "audio/x-flac": "flac", "audio/x-aac": "aac", "audio/aacp": "aac",
}  # fmt: skip
# OpenAI's packages name bytes of any kind.
_ANY: Final = frozenset({"*/*", "audio/*", "application/octet-stream"})
_RANGE: Final = re.compile(r"[a-z0-9!#$&^_.+*-]{1,100}/[a-z0-9!#$&^_.+*-]{1,100}", re.ASCII)
_QUALITY: Final = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?", re.ASCII)
# Bytes of samples that are converted at once, and seconds for them.
_PORTION: Final = 128 * 1024
_SECONDS: Final = 30.0
_HEAD: Final = 44


@functools.cache
def has_extra() -> bool:
    """Whether what the process needs is installed."""
    return all(importlib.util.find_spec(module) is not None for module in ("av", "numpy"))


def forms_of(speaker: Speaker) -> Collection[str]:
    """The formats that its speech can be given in: where it is WAV alone, all that WAV can be made into."""
    return tuple(MIMES) if speaker.forms == WAV and has_extra() else speaker.forms


def chosen(accept: str, forms: Collection[str], own: str) -> str:
    """The format that a header `Accept` likes best of those that there are; `own` where it does not mind, or says nothing that
    can be read.

    Of two that it likes as much, one that it names goes before one of a range, and `own` before others. Raises BadRequest (406)
    where it likes none. The meaning of the header is that of RFC 9110, 12.5.1.
    """
    named: dict[str, float] = {}
    ranges: dict[str, float] = {}
    is_read = False
    for one in accept.lower().split(","):
        kind, _, parameters = one.partition(";")
        kind, quality = kind.strip(), _quality(parameters)
        if quality is None or _RANGE.fullmatch(kind) is None:
            continue
        is_read = True
        if kind in _ANY:
            ranges[kind] = max(quality, ranges.get(kind, 0.0))
        elif (form := _TYPES.get(kind)) is not None:
            named[form] = max(quality, named.get(form, 0.0))
    if not is_read:
        return own
    others = ranges.get("audio/*", max((ranges[name] for name in _ANY & ranges.keys()), default=0.0))
    liked = [(named.get(form, others), form in named, form == own, form) for form in MIMES if form in forms]
    best = max(liked, key=lambda one: one[:3])
    if best[0] <= 0:
        raise BadRequest(NOT_THERE.format(", ".join(MIMES[form] for form in MIMES if form in forms)), status=406)
    return best[3]


def _quality(parameters: str) -> float | None:
    """The weight among the parameters of a range; None where it is none."""
    for one in parameters.split(";"):
        name, _, value = one.partition("=")
        if name.strip() == "q":
            return float(value) if _QUALITY.fullmatch(value := value.strip()) else None
    return 1.0


class Converter:
    """The process, as the server sees it: one for all speech, in turns of a few seconds of it."""

    def __init__(self, settings: Settings) -> None:
        self._child = Child(
            MODULE, "The process that converts speech", idle_seconds=settings.local_models_idle_seconds,
            environment={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        self._numbers = itertools.count()

    @property
    def pid(self) -> int | None:
        """The process's number, while there is one."""
        return self._child.pid

    async def converted(self, form: str, wav: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A WAV file (16 bits, one channel) in another format, as it comes. Raises Unavailable."""
        number = next(self._numbers)
        held, rate = bytearray(), 0
        is_first = True
        async for piece in wav:
            held += piece
            if not rate and len(held) >= _HEAD:
                rate = rate_of(bytes(held[:_HEAD]))
                del held[:_HEAD]
            while rate and len(held) > 1:
                # Samples are of two bytes.
                size = min(_PORTION, len(held) & ~1)
                made = await self._made(
                    Portion(stream=number, form=form, rate=rate, samples=bytes(held[:size]), is_first=is_first)
                )
                del held[:size]
                is_first = False
                if made:
                    yield made
        if not rate:
            raise Unavailable(FAILED.format("There is none."))
        made = await self._made(
            Portion(stream=number, form=form, rate=rate, samples=b"", is_first=is_first, is_last=True)
        )
        if made:
            yield made

    async def _made(self, portion: Portion) -> bytes:
        try:
            return await self._child.call(msgspec.msgpack.encode(portion), timeout=_SECONDS)
        except (Refused, Lost) as error:
            raise Unavailable(FAILED.format(error)) from None

    async def close(self) -> None:
        """Ends the process, whatever it is doing."""
        await self._child.close()


def rate_of(head: bytes) -> int:
    """Samples a second, by the first 44 bytes of a WAV file. Raises Unavailable for other than one channel of 16 bits."""
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", head[20:36])
    is_plain = (head[:4], head[8:16], head[36:40]) == (b"RIFF", b"WAVEfmt ", b"data")
    if not is_plain or (kind, channels, bits) != (1, 1, 16) or not rate:
        raise Unavailable(FAILED.format("It is of an unknown kind."))
    return int(rate)
