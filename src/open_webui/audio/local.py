"""Listening on this machine: a Whisper model in a process of its own, which is started by the first recording and ends after a
while without any. The same process decodes and cuts recordings for services that take only so much at once.
"""

import asyncio
import contextlib
import functools
import importlib.util
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from llamaforge import hub_cache
from llamaforge.exceptions import how_to_install
from open_webui.audio.base import Heard, NoEngine, NoSpeech, Recording, Sofar, Telling
from open_webui.audio.worker.calls import Call, Cut, Step
from open_webui.config import Config
from open_webui.env import Settings
from open_webui.internal.child.process import Child, Lost, Refused

MODULE: Final = "open_webui.audio.worker"
AT_ONCE: Final = 2
_THREADS: Final = 4
_FILES: Final = ("config.json", "model.bin", "tokenizer.json")
# Where the hub has Whisper models by their usual names.
_OWNER: Final = "Systran"
_ELSEWHERE: Final[Mapping[str, str]] = {
    "large": "Systran/faster-whisper-large-v3",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
}
NO_EXTRA: Final = "Listening on this machine needs the extra 'speech'. Install it with: {}"
# Seconds: to load a model, and for each second of a recording; for decoding alone. Recordings are read anyway as they come.
_LOADING: Final = 120.0
_EACH: Final = 4.0
_EACH_CUT: Final = 0.25


@functools.cache
def has_extra() -> bool:
    """Whether what the process needs is installed."""
    return all(importlib.util.find_spec(module) is not None for module in ("av", "faster_whisper"))


def is_there(config: Config, settings: Settings) -> bool:
    """Whether this machine can listen by itself."""
    if not has_extra():
        return False
    try:
        folder_of(config, settings)
    except NoEngine:
        return False
    return True


def folder_of(config: Config, settings: Settings) -> Path:
    """The folder of the Whisper model that the settings name: in DATA_DIR/models, or in the hub's cache. Raises NoEngine."""
    if not has_extra():
        raise NoEngine(NO_EXTRA.format(how_to_install("speech")))
    name: str = config["audio.stt.whisper_model"] or "base"
    home = settings.data_dir.resolve() / "models"
    trusted = config.locked_by("audio.stt.whisper_model") is not None or settings.local_models_trust_admins
    repository = _ELSEWHERE.get(name, name if "/" in name else f"{_OWNER}/faster-whisper-{name}")
    for place in (inside(home, name, trusted=trusted), hub_cache.find(repository)):
        if place is not None and _is_model(place):
            return place
    raise NoEngine(
        f"The speech model '{name[:100]}' is not on this machine. Fetch it with `hf download {repository[:200]}`, or put"
        f" its folder at {home / name[:100]}, or choose another engine in the settings of audio."
    )


def inside(home: Path, name: str, *, trusted: bool) -> Path | None:
    """The folder of this name; None for one that leads elsewhere, unless it is trusted, and for what is no name."""
    try:
        folder = home / name
        return folder if trusted or folder.resolve().is_relative_to(home.resolve()) else None
    except (OSError, ValueError, RuntimeError):
        return None


def _is_model(folder: Path) -> bool:
    try:
        return all((folder / name).is_file() for name in _FILES)
    except (OSError, ValueError):
        return False


class Worker:
    """The processes, as the server sees them: one recording each, `AT_ONCE` of them at most, started when needed."""

    def __init__(self, settings: Settings, *, module: str = MODULE) -> None:
        """module: what they run."""
        self._module = module
        self._idle_seconds = settings.local_models_idle_seconds
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._free: list[Child] = []
        self._all: set[Child] = set()

    @property
    def pids(self) -> list[int]:
        """The numbers of those that run."""
        return [child.pid for child in self._all if child.pid is not None]

    async def listen(
        self, recording: Recording, model: Path, language: str | None, max_seconds: int, telling: Telling | None = None
    ) -> Heard:
        """What a model hears, from where `telling` has it on. Raises NoSpeech, NoEngine."""
        telling = telling or Telling()
        sofar = telling.sofar
        # The language that was found out stays that of the whole.
        call = Call(
            path=str(recording.path), max_seconds=max_seconds, model=str(model), language=language or sofar.language or None,
            at=sofar.at,
        )  # fmt: skip
        clock = asyncio.get_running_loop().time
        until = clock() + _LOADING + _EACH * max_seconds
        async with self._held() as child:
            step = await _step(child, call, until - clock())
            count = 0
            while not step.is_over:
                new = step.parts[count:] if step.is_cut else step.parts
                count = 0 if step.is_cut else count + len(new)
                if words := " ".join(part.text for part in new if part.text):
                    await telling.said(words)
                if step.is_cut:
                    sofar = _longer(sofar, step)
                    await telling.keep(sofar)
                await telling.reached(step.at, step.of)
                step = await _step(child, msgspec.structs.replace(call, goes_on=True), until - clock())
        return Heard(" ".join(text for text in sofar.texts if text), sofar.language, step.at, sofar.parts)

    async def cut(self, recording: Recording, into: Path, each: int, max_seconds: int) -> list[Cut]:
        """Parts of a recording as WAV files of a folder, at most `each` seconds long, cut where it is quiet.

        Raises NoSpeech, NoEngine.
        """
        call = Call(path=str(recording.path), max_seconds=max_seconds, into=str(into), each=each)
        async with self._held() as child:
            cuts = await child.call(msgspec.msgpack.encode(call), timeout=_LOADING + _EACH_CUT * max_seconds)
        return msgspec.msgpack.decode(cuts, type=list[Cut])

    async def close(self) -> None:
        """Ends them, whatever they are doing."""
        await asyncio.gather(*(child.close() for child in self._all))

    @contextlib.asynccontextmanager
    async def _held(self) -> AsyncIterator[Child]:
        """A process for one recording. Raises NoSpeech for what it refuses, crashes over, or takes too long over."""
        if not has_extra():
            raise NoEngine(NO_EXTRA.format(how_to_install("speech")))
        async with self._turns:
            child = self._free.pop() if self._free else self._start()
            well = False
            try:
                yield child
                well = True
            except Refused as refused:
                well = True
                raise NoSpeech(str(refused)) from None
            except Lost as lost:
                raise NoSpeech(f"The recording can't be listened to. {lost.detail}") from None
            finally:
                if well:
                    self._free.append(child)
                else:
                    # It crashed, or works on what nobody waits for any more.
                    self._all.discard(child)
                    await asyncio.shield(child.close())

    def _start(self) -> Child:
        child = Child(
            self._module, "The process that listens", idle_seconds=self._idle_seconds,
            environment={"OMP_NUM_THREADS": str(_THREADS), "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        self._all.add(child)
        return child


async def _step(child: Child, call: Call, seconds: float) -> Step:
    return msgspec.msgpack.decode(await child.call(msgspec.msgpack.encode(call), timeout=max(0.0, seconds)), type=Step)


def _longer(sofar: Sofar, step: Step) -> Sofar:
    return msgspec.structs.replace(
        sofar,
        at=step.at,
        language=step.language or sofar.language,
        texts=(*sofar.texts, " ".join(part.text for part in step.parts if part.text)),
        parts=sofar.parts + step.parts,
    )


class LocalListener:
    """See `base.Listener`."""

    largest = 0

    def __init__(
        self, worker: Worker, folder: Path, name: str, max_seconds: int, telling: Telling | None = None
    ) -> None:
        self._telling = telling
        self.model = name if "whisper" in name else f"whisper-{name}"
        self._worker = worker
        self._folder = folder
        self._max_seconds = max_seconds

    async def listen(self, recording: Recording, language: str | None) -> Heard:
        """See `base.Listener`."""
        return await self._worker.listen(recording, self._folder, language, self._max_seconds, self._telling)


@contextlib.asynccontextmanager
async def room() -> AsyncIterator[Path]:
    """A folder for a recording while it is listened to. It is made and removed beside the loop."""
    folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="oui-audio-", ignore_cleanup_errors=True)
    try:
        yield Path(folder.name)
    finally:
        await asyncio.shield(asyncio.to_thread(folder.cleanup))
