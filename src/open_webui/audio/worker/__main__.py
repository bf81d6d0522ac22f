"""Runs in the child process: decodes a recording, cuts it, and listens to it with a Whisper model.

`python -m open_webui.audio.worker`. It has limits of memory that a recording can't lift, and dies at worst.
"""

import os
import sys
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from open_webui.audio.base import Part
from open_webui.audio.worker.calls import Call, Cut, Step
from open_webui.audio.worker.cutting import pieces
from open_webui.audio.worker.decoding import RATE, BadRecording, Samples, decoded, length_of
from open_webui.internal.child.serve import serve

if sys.platform != "win32":
    import resource

# Seconds that the model gets at once: it reads half a minute at a time.
_PIECE: Final = 300
# Bytes of memory for decoding; for each byte of a model's file; bytes of a file of parts.
_MEMORY: Final = 3 * 2**30
_OF_MODEL: Final = 6
_FILE: Final = 2 * 2**30
# Loudness below which nobody speaks.
_SILENCE: Final = 1e-4
_most_threads: Final = 4
# Seconds of speech after which it is told how far it is.
_TOLD_EACH: Final = 15.0
_model: "tuple[str, Any] | None" = None
_steps: Iterator[Step] = iter(())


def answer(request: bytes) -> bytes:
    """See `Call`."""
    global _steps  # noqa: PLW0603 - the process listens to one recording
    call = msgspec.msgpack.decode(request, type=Call)
    if call.into:
        portions = decoded(Path(call.path), call.max_seconds)
        return msgspec.msgpack.encode([_written(call, first, piece) for first, piece in pieces(portions, call.each)])
    if not call.goes_on:
        _steps = _listened(call)
    return msgspec.msgpack.encode(next(_steps))


def _listened(call: Call) -> Iterator[Step]:
    model = _loaded(call.model)
    # As exact as the cut was: pieces fall where they would have fallen.
    begin = round(call.at * RATE)
    asked, language, count = _known(model, call.language), "", begin
    of = min(length_of(Path(call.path)), float(call.max_seconds))
    portions = _after(decoded(Path(call.path), call.max_seconds), begin)
    for first, piece in pieces(portions, _PIECE):
        start, count = (begin + first) / RATE, begin + first + len(piece)
        found: list[Part] = []
        if float(np.abs(piece).max()) >= _SILENCE:
            segments, info = model.transcribe(
                piece,
                language=asked or language or None,
                beam_size=5,
                vad_filter=True,
                condition_on_previous_text=False,
            )
            language, told, count_told = str(info.language or ""), 0.0, 0
            for one in segments:
                found.append(Part(round(start + one.start, 2), round(start + one.end, 2), one.text.strip()))
                if one.end - told >= _TOLD_EACH:
                    yield Step(at=start + one.end, of=of, parts=tuple(found[count_told:]))
                    told, count_told = one.end, len(found)
        yield Step(at=count / RATE, of=of, language=language, parts=tuple(found), is_cut=True)
    yield Step(at=count / RATE, of=of, is_over=True)


def _after(portions: Iterable[Samples], begin: int) -> Iterator[Samples]:
    """What comes after so many samples."""
    for portion in portions:
        if begin < len(portion):
            yield portion[begin:]
        begin = max(0, begin - len(portion))


def _known(model: Any, language: str | None) -> str | None:
    """The model's code of a language ("en" of "en-US"). Raises BadRecording for one that it does not know."""
    code = (language or "").partition("-")[0].lower()
    if code and code not in model.supported_languages:
        raise BadRecording(f"The model does not know the language '{code[:20]}'.")
    return code or None


def _loaded(folder: str) -> Any:
    """The model, which stays until another is asked for."""
    global _model  # noqa: PLW0603 - the process has one
    if _model is None or _model[0] != folder:
        from faster_whisper import WhisperModel  # noqa: PLC0415 - not for cutting

        _model = None
        try:
            _limit((Path(folder) / "model.bin").stat().st_size)
            made = WhisperModel(
                folder, device="auto", compute_type="auto", cpu_threads=_threads(), local_files_only=True
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise BadRecording(f"The speech model can't be loaded: {str(error)[:300]}") from None
        _model = (folder, made)
    return _model[1]


def _threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_most_threads, cores))


def _written(call: Call, first: int, piece: Samples) -> Cut:
    path = Path(call.into) / f"{first:012}.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(piece, -1, 1) * 32767).astype("<i2").tobytes())
    return Cut(str(path), first / RATE, (first + len(piece)) / RATE)


def _limit(model: int = 0) -> None:
    """What the system lets the process have. model: bytes of the one that it loads."""
    if sys.platform != "linux":
        return
    memory = _MEMORY + _OF_MODEL * model
    for which, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, _FILE), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(which)
        resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    _limit()
    serve(answer, (BadRecording,))
