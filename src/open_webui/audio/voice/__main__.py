"""Runs in the child process: turns sentences into sounds with espeak-ng, and the sounds into speech with a voice of Piper's.

`python -m open_webui.audio.voice`. A voice is a model in the ONNX format (VITS) and a description in JSON beside it, as
<https://github.com/OHF-Voice/piper1-gpl/blob/main/docs/TRAINING.md> has them. espeak-ng is run as a program. The process has
limits of memory, and dies at worst.
"""

import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from open_webui.audio.espeak import PROGRAM
from open_webui.audio.voice.calls import Said, Say
from open_webui.internal.child.serve import serve

if sys.platform != "win32":
    import resource

# Bytes of memory beside the voices; for each byte of a voice's file.
_MEMORY: Final = 2 * 2**30
_OF_MODEL: Final = 4
# Bytes of a file: nothing is written, but espeak-ng's sound library makes room for 64 MB in its memory.
_FILE: Final = 2**27
_MOST_DESCRIPTION: Final = 2**20
# Sounds at once, and samples that one of them may become: half a second of 48,000.
_MOST_SOUNDS: Final = 1_500
_MOST_SAMPLES: Final = 24_000
_SECONDS: Final = 20.0
_THREADS: Final = 2
_KEPT: Final = 2
_BEGIN, _END, _PAUSE = "^", "$", "_"
_SWITCH: Final = re.compile(r"\([a-z-]+\)")
_voices: "dict[str, Voice]" = {}


class BadVoice(Exception):
    """Why a voice can't speak, as a sentence."""


class _Espeak(msgspec.Struct):
    voice: str = "en-us"


class _Audio(msgspec.Struct):
    sample_rate: int = 22_050


class _Inference(msgspec.Struct):
    noise_scale: float = 0.667
    length_scale: float = 1.0
    noise_w: float = 0.8


class Description(msgspec.Struct):
    """What stands beside a model."""

    phoneme_id_map: dict[str, list[int]]
    audio: _Audio = msgspec.field(default_factory=_Audio)
    espeak: _Espeak = msgspec.field(default_factory=_Espeak)
    inference: _Inference = msgspec.field(default_factory=_Inference)
    num_speakers: int = 1
    phoneme_type: str = "espeak"


class Voice:
    """A voice that is loaded."""

    def __init__(self, path: Path) -> None:
        """Raises BadVoice."""
        import onnxruntime  # noqa: PLC0415 - once a voice is there

        self.about = _described(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, min(_THREADS, os.cpu_count() or 1))
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - the library has many kinds of them
            raise BadVoice(f"The voice can't be loaded: {str(error)[:300]}") from None
        self._inputs = {one.name for one in self._session.get_inputs()}

    def say(self, sounds: str, speaker: int, speed: float) -> bytes:
        """Samples of sounds in the phonetic alphabet. Raises BadVoice."""
        numbers = self._numbers(sounds)
        if not numbers:
            return b""
        how = self.about.inference
        given: dict[str, Any] = {
            "input": np.array([numbers], np.int64),
            "input_lengths": np.array([len(numbers)], np.int64),
            "scales": np.array([how.noise_scale, how.length_scale / speed, how.noise_w], np.float32),
        }
        if "sid" in self._inputs:
            given["sid"] = np.array([min(max(0, speaker), self.about.num_speakers - 1)], np.int64)
        try:
            found = np.asarray(self._session.run(None, given)[0]).reshape(-1)
        except Exception as error:  # noqa: BLE001 - as above
            raise BadVoice(f"The voice can't speak this: {str(error)[:300]}") from None
        whole = np.nan_to_num(found[: len(numbers) * _MOST_SAMPLES])
        return bytes((np.clip(whole, -1, 1) * 32767).astype("<i2").tobytes())

    def _numbers(self, sounds: str) -> list[int]:
        """As the model has them: each sound is followed by a pause. Those that it does not know are left out."""
        known = self.about.phoneme_id_map
        pause = known.get(_PAUSE, [])
        out: list[int] = []
        for sound in unicodedata.normalize("NFD", sounds)[:_MOST_SOUNDS]:
            if found := known.get(sound):
                out += [*found, *pause]
        return [*known.get(_BEGIN, []), *pause, *out, *known.get(_END, [])] if out else []


def _described(path: Path) -> Description:
    beside = path.with_name(path.name + ".json")
    try:
        with beside.open("rb") as file:
            about = msgspec.json.decode(file.read(_MOST_DESCRIPTION), type=Description)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadVoice(f"The description of the voice ({beside.name}) can't be read: {str(error)[:200]}") from None
    is_plain = re.fullmatch(r"[A-Za-z0-9+_-]{1,40}", about.espeak.voice) is not None
    if about.phoneme_type != "espeak" or not is_plain or about.espeak.voice.startswith("-"):
        raise BadVoice("The voice is of a kind that this server can't speak with: its sounds are not espeak-ng's.")
    if not 8_000 <= about.audio.sample_rate <= 48_000:
        raise BadVoice("The description of the voice says an odd number of samples a second.")
    return about


def sounds_of(text: str, language: str) -> str:
    """A sentence in the phonetic alphabet, its pauses marked. Raises BadVoice."""
    try:
        said = subprocess.run(  # noqa: S603 - the program, and a name that was looked at
            [PROGRAM, "-v", language, "--ipa", "-q", "--stdin"],
            input=text.encode(errors="replace"), capture_output=True, timeout=_SECONDS, check=True,
            env={name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ} | {"LC_ALL": "C.UTF-8"},
        ).stdout.decode(errors="replace")  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        raise BadVoice("espeak-ng could not turn the text into sounds.") from None
    parts = [part for line in said.splitlines() if (part := _SWITCH.sub("", line).strip())]
    end = next((mark for mark in reversed(text.rstrip("\"')]»”’ ")[-1:]) if mark in ".!?"), ".")
    return ", ".join(parts) + end if parts else ""


def answer(request: bytes) -> bytes:
    """See `Say`."""
    asked = msgspec.msgpack.decode(request, type=Say)
    voice = _loaded(asked.model)
    sounds = sounds_of(asked.text, voice.about.espeak.voice)
    samples = voice.say(sounds, asked.speaker, asked.speed) if sounds else b""
    return msgspec.msgpack.encode(Said(samples, voice.about.audio.sample_rate))


def _loaded(model: str) -> Voice:
    """A voice; those that were used last stay."""
    voice = _voices.pop(model, None)
    if voice is None:
        while len(_voices) >= _KEPT:
            _voices.pop(next(iter(_voices)))
        path = Path(model)
        try:
            _limit(path.stat().st_size)
        except OSError:
            raise BadVoice("The voice is not there any more.") from None
        voice = Voice(path)
    _voices[model] = voice
    return voice


def _limit(model: int = 0) -> None:
    """What the system lets the process have. model: bytes of the voice that it loads."""
    if sys.platform != "linux":
        return
    memory = _MEMORY + _KEPT * _OF_MODEL * model
    for which, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, _FILE), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(which)
        resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    _limit()
    serve(answer, (BadVoice,))
