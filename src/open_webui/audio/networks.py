"""Speech by a VITS model of Transformers on this machine (MMS-TTS), in a process of its own, which is started by the first text
and ends after a while without any. Nothing is downloaded, and only safetensors are read.
"""

import asyncio
import contextlib
import functools
import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec

from llamaforge import hub_cache
from llamaforge.exceptions import how_to_install
from open_webui.audio.base import Asked, Named, NoEngine, Speech
from open_webui.audio.espeak import OPENAI_VOICES
from open_webui.audio.local import inside
from open_webui.audio.voice.calls import Said, Say
from open_webui.audio.voices import sentences, spoken
from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import BadRequest, Unavailable
from open_webui.internal.child.process import Child, Lost, Refused

ENGINE: Final = "transformers"
MODULE: Final = "open_webui.audio.vits"
NO_EXTRA: Final = "Models of Transformers that speak need the extra 'transformers'. Install it with: {}"
NO_MODEL: Final = (
    "The model '{name}', which should speak, is not on this machine. Fetch one with `hf download` (such as facebook/mms-tts-eng),"
    " or put its folder into the folder models of the server's data, and name it as the model in the settings of audio."
)
PICKLED: Final = (
    "The weights of the model '{}' are in pickle files, which can run code while they are read. Only safetensors are."
)
OTHER: Final = (
    "The model '{}' is of another kind. Of Transformers' models that speak, those of VITS (MMS-TTS) can be run here."
)
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_MOST_CONFIG: Final = 2**20
_MOST_SPEAKERS: Final = 1_000
# Seconds for a sentence, in which the library and a model may have to be loaded first.
_SECONDS: Final = 240.0


class _Config(msgspec.Struct):
    model_type: str = ""
    num_speakers: int = 1


@functools.cache
def has_extra() -> bool:
    """Whether what the process needs is installed."""
    return all(importlib.util.find_spec(module) is not None for module in ("torch", "transformers"))


class Networks:
    """The process, as the server sees it: one for all, sentence by sentence in the order in which they are asked for."""

    def __init__(self, settings: Settings, *, module: str = MODULE) -> None:
        """module: what it runs."""
        self._home = settings.data_dir.resolve() / "models"
        self._trusts_admins = settings.local_models_trust_admins
        self._child = Child(
            module, "The process that speaks", idle_seconds=settings.local_models_idle_seconds,
            environment={"OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip

    @property
    def pid(self) -> int | None:
        """The process's number, while there is one."""
        return self._child.pid

    def found(self, config: Config) -> tuple[Path, int]:
        """The folder of the model that the settings name, and how many speakers it has. Raises NoEngine. It reads the disk."""
        if not has_extra():
            raise NoEngine(NO_EXTRA.format(how_to_install("transformers")))
        name: str = config["audio.tts.model"]
        trusted = config.locked_by("audio.tts.model") is not None or self._trusts_admins
        for folder in (inside(self._home, name, trusted=trusted) if name else None, hub_cache.find(name)):
            with contextlib.suppress(OSError, ValueError):
                if folder is not None and (folder / "config.json").is_file():
                    return folder, _speakers_of(folder, Path(name).name[:100])
        raise NoEngine(NO_MODEL.format(name=Path(name).name[:100]))

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


def _speakers_of(folder: Path, name: str) -> int:
    """How many speakers a model has. Raises NoEngine for a model that can't speak here; OSError."""
    try:
        with (folder / "config.json").open("rb") as file:
            about = msgspec.json.decode(file.read(_MOST_CONFIG), type=_Config)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        about = _Config()
    if about.model_type != "vits":
        raise NoEngine(OTHER.format(name))
    if not any(folder.glob("*.safetensors")):
        is_pickled = any(True for pattern in _PICKLES for _ in folder.glob(pattern))
        raise NoEngine(PICKLED.format(name) if is_pickled else NO_MODEL.format(name=name))
    return max(1, min(_MOST_SPEAKERS, about.num_speakers))


class TransformersSpeaker:
    """See `base.Speaker`."""

    forms = frozenset({"wav"})
    own = "wav"

    def __init__(self, networks: Networks, config: Config) -> None:
        self._networks = networks
        self._config = config
        self._preferred: str = config["audio.tts.voice"]
        self._model = Path(config["audio.tts.model"]).name
        self.identity = f"{ENGINE} {config['audio.tts.model']} {self._preferred}"

    @contextlib.asynccontextmanager
    async def speak(self, asked: Asked) -> AsyncIterator[Speech]:
        """See `base.Speaker`: WAV, 16 bits, one channel, as soon as a sentence is spoken."""
        folder, count = await asyncio.to_thread(self._networks.found, self._config)
        speaker = self._speaker(asked.voice, count)
        says = [Say(model=str(folder), text=text, speaker=speaker, speed=asked.speed) for text in sentences(asked.text)]
        yield Speech("audio/wav", spoken(self._networks.say, says))

    def _speaker(self, wanted: str, count: int) -> int:
        """The number of a speaker: the one that is asked for, the setting's, or the first."""
        known = {str(number): number for number in range(count)}
        if wanted in known:
            return known[wanted]
        if wanted in {"", self._preferred, self._model, *OPENAI_VOICES}:
            return known.get(self._preferred, 0)
        raise BadRequest(f"There is no voice '{wanted[:100]}' here. /api/v1/audio/voices lists those that there are.")

    async def voices(self) -> list[Named]:
        """See `base.Speaker`: its speakers by their numbers; where it has one, the model."""
        _, count = await asyncio.to_thread(self._networks.found, self._config)
        if count == 1:
            return await self.models()
        return [Named(str(number), f"{self._model} {number}") for number in range(count)]

    async def models(self) -> list[Named]:
        """See `base.Speaker`: the setting's."""
        await asyncio.to_thread(self._networks.found, self._config)
        return [Named(self._model, self._model)]
