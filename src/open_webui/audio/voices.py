"""Speech by voices of Piper's on this machine: models that run in a process of their own, which is started by the first text and
ends after a while without any. espeak-ng turns texts into sounds, as a program; nothing is downloaded.
"""

import asyncio
import contextlib
import functools
import importlib.util
import re
import shutil
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from llamaforge.exceptions import how_to_install
from open_webui.audio.base import MAX_SPEECH, Asked, Named, NoEngine, Speech
from open_webui.audio.espeak import MISSING, OPENAI_VOICES, PROGRAM
from open_webui.audio.voice.calls import Said, Say
from open_webui.env import Settings
from open_webui.errors import BadRequest, Unavailable
from open_webui.internal.child.process import Child, Lost, Refused

ENGINE: Final = "piper"
MODULE: Final = "open_webui.audio.voice"
NO_EXTRA: Final = "Voices on this machine need the extra 'speech'. Install it with: {}"
NO_VOICE: Final = (
    "There is no voice on this machine. Put one of Piper's (NAME.onnx and NAME.onnx.json) into the folder models/piper of the"
    " server's data, or choose another engine in the settings of audio."
)
# Voices that are listed, speakers of one, bytes of a description.
_MOST: Final = 500
_MOST_SPEAKERS: Final = 1_000
_MOST_DESCRIPTION: Final = 2**20
# Seconds for a sentence, in which its voice may have to be loaded first.
_SECONDS: Final = 120.0
# Characters that are spoken at once.
_SENTENCE: Final = 300
_ENDS: Final = re.compile(r"(?<=[.!?…。！？])[\"')\]»”’]*\s+|\n+")
_UNKNOWN: Final = 0xFFFFFFFF


class Found(msgspec.Struct, frozen=True):
    """A voice on the disk, or one of its speakers."""

    path: Path
    speaker: int = 0


class _Speakers(msgspec.Struct):
    num_speakers: int = 1
    speaker_id_map: dict[str, int] = {}


@functools.cache
def has_extra() -> bool:
    """Whether what the process needs is installed."""
    return all(importlib.util.find_spec(module) is not None for module in ("numpy", "onnxruntime"))


def voices_in(home: Path) -> dict[str, Found]:
    """The voices of a folder by their names, in order; `NAME#SPEAKER` for each speaker of a voice that has several."""
    out: dict[str, Found] = {}
    root = home.resolve()
    for path in sorted(home.glob("*.onnx"))[:_MOST] if home.is_dir() else ():
        beside = path.with_name(path.name + ".json")
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError, RuntimeError):
            if not path.resolve().is_relative_to(root):
                continue
            with beside.open("rb") as file:
                about = msgspec.json.decode(file.read(_MOST_DESCRIPTION), type=_Speakers)
            out[path.stem] = Found(path)
            if about.num_speakers > 1:
                named = sorted(about.speaker_id_map.items(), key=lambda one: one[1]) or [
                    (str(n), n) for n in range(about.num_speakers)
                ]
                out |= {f"{path.stem}#{name}": Found(path, number) for name, number in named[:_MOST_SPEAKERS]}
    return out


class Voices:
    """The process, as the server sees it: one for all, sentence by sentence in the order in which they are asked for."""

    def __init__(self, settings: Settings) -> None:
        self.home = settings.data_dir.resolve() / "models" / ENGINE
        self._child = Child(
            MODULE, "The process that speaks", idle_seconds=settings.local_models_idle_seconds,
            environment={"OMP_NUM_THREADS": "2"},
        )  # fmt: skip

    @property
    def pid(self) -> int | None:
        """The process's number, while there is one."""
        return self._child.pid

    async def listed(self) -> dict[str, Found]:
        """See `voices_in`. Raises NoEngine where what speaks with them is missing."""
        if not has_extra():
            raise NoEngine(NO_EXTRA.format(how_to_install("speech")))
        if shutil.which(PROGRAM) is None:
            raise NoEngine(MISSING)
        found = await asyncio.to_thread(voices_in, self.home)
        if not found:
            raise NoEngine(NO_VOICE)
        return found

    async def say(self, say: Say) -> Said:
        """A sentence. Raises Unavailable."""
        try:
            said = await self._child.call(msgspec.msgpack.encode(say), timeout=_SECONDS)
        except (Refused, Lost) as error:
            raise Unavailable(f"The text could not be spoken. {error}") from None
        return msgspec.msgpack.decode(said, type=Said)

    async def close(self) -> None:
        """Ends the process, whatever it is doing."""
        await self._child.close()


class PiperSpeaker:
    """See `base.Speaker`."""

    forms = frozenset({"wav"})
    own = "wav"

    def __init__(self, voices: Voices, model: str, voice: str) -> None:
        """model, voice: those of the settings, which speak where a request names none of those that there are."""
        self._voices = voices
        self._preferred = voice, model
        self.identity = f"{ENGINE} {model} {voice}"

    @contextlib.asynccontextmanager
    async def speak(self, asked: Asked) -> AsyncIterator[Speech]:
        """See `base.Speaker`: WAV, 16 bits, one channel, as soon as a sentence is spoken."""
        found = self._chosen(asked.voice, await self._voices.listed())
        says = [
            Say(model=str(found.path), text=text, speaker=found.speaker, speed=asked.speed)
            for text in sentences(asked.text)
        ]
        yield Speech("audio/wav", spoken(self._voices.say, says))

    def _chosen(self, wanted: str, there: dict[str, Found]) -> Found:
        named = there.get(wanted)
        if named is not None:
            return named
        default = next((one for name in self._preferred if (one := there.get(name))), next(iter(there.values())))
        # A speaker of the voice of the settings, by its name or number alone.
        for name, one in there.items():
            if one.path == default.path and wanted and name.partition("#")[2] == wanted:
                return one
        if wanted in {"", *self._preferred, *OPENAI_VOICES}:
            return default
        raise BadRequest(f"There is no voice '{wanted[:100]}' here. /api/v1/audio/voices lists those that there are.")

    async def voices(self) -> list[Named]:
        """See `base.Speaker`: those in its folder."""
        return [Named(name, name.replace("_", " ")) for name in await self._voices.listed()]

    async def models(self) -> list[Named]:
        """See `base.Speaker`: the voices without their speakers."""
        return [Named(name, name) for name in await self._voices.listed() if "#" not in name]


async def spoken(say: Callable[[Say], Awaitable[Said]], says: list[Say]) -> AsyncIterator[bytes]:
    """Sentences as one WAV file, each as soon as it is spoken. Raises what `say` raises, and Unavailable for too much."""
    size = rate = 0
    for one in says:
        said = await say(one)
        size += len(said.samples)
        if size > MAX_SPEECH:
            raise Unavailable("The voice has given more speech than the server takes.")
        if not rate:
            rate = said.rate
            # How long all will be nobody knows before the last; of one alone one does.
            yield wav_head(rate, size if len(says) == 1 else None)
        if said.samples:
            yield said.samples


def sentences(text: str) -> list[str]:
    """What is spoken one after the other: sentences, and of long ones parts that end between words. Never none."""
    out: list[str] = []
    plain = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    for sentence in _ENDS.split(plain):
        left = sentence.strip()
        while len(left) > _SENTENCE:
            at = max(left.rfind(mark, _SENTENCE // 3, _SENTENCE) for mark in (", ", "; ", ": "))
            at = at + 1 if at > 0 else left.rfind(" ", 1, _SENTENCE)
            at = at if at > 0 else _SENTENCE
            out.append(left[:at].strip())
            left = left[at:].strip()
        if left:
            out.append(left)
    return out or [" "]


def wav_head(rate: int, size: int | None) -> bytes:
    """The beginning of a WAV file. size: bytes of its samples; None where nobody knows."""
    whole: Any = (_UNKNOWN, _UNKNOWN) if size is None else (size + 36, size)
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", whole[0], b"WAVE", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16, b"data", whole[1]
    )
