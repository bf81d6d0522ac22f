"""A recording as numbers: any container and codec that PyAV knows becomes one channel of 16,000 samples a second.

It goes through in portions: neither its length nor what its header promises decides about memory.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import av
import numpy as np

RATE: Final = 16_000
# Channels, samples a second, and samples in one frame that are believed.
_MOST_CHANNELS: Final = 64
_MOST_RATE: Final = 768_000
_MOST_SAMPLES: Final = 10_000_000
# Packets, and bytes of them, from which no sound comes before a file is given up; damaged packets that are passed over.
_SILENT_PACKETS: Final = 20_000
_DAMAGED: Final = 200
# The containers that are opened. Those that are lists of other files and addresses (HLS, DASH, concat) are not among them.
_CONTAINERS: Final = (
    "wav mp3 aac flac ogg matroska webm mov mp4 m4a 3gp 3g2 mj2 aiff au caf amr w64 asf avi mpeg mpegts flv wv tta ape ac3"
    " eac3 dts rm"
).split()
_OPTIONS: Final = {"format_whitelist": ",".join(_CONTAINERS), "protocol_whitelist": "none"}
Samples = np.ndarray[Any, np.dtype[np.float32]]


class BadRecording(Exception):
    """Why a recording can't be listened to, as a sentence."""


NOT_ONE: Final = "The file is no recording that can be read: it is damaged, or of another kind."
NO_SOUND: Final = "There is no sound in the file."
EMPTY: Final = "The file is empty."


def decoded(path: Path, max_seconds: int) -> Iterator[Samples]:
    """The sound of a file in portions: float32 from -1 to 1. Raises BadRecording."""
    if path.stat().st_size == 0:
        raise BadRecording(EMPTY)
    count = 0
    try:
        # As an open file: names and addresses inside it lead nowhere.
        with path.open("rb") as file, av.open(file, metadata_errors="ignore", options=_OPTIONS) as container:
            if not container.streams.audio:
                raise BadRecording(NO_SOUND)
            for portion in _portions(container, container.streams.audio[0]):
                count += len(portion)
                if count > max_seconds * RATE:
                    raise BadRecording(
                        f"The recording is longer than {_duration(max_seconds)}, the most that is taken."
                    )
                yield portion
    except (av.FFmpegError, ValueError, EOFError, io.UnsupportedOperation):
        # What came before the damage was heard; a file that is damaged from the start has nothing.
        if count == 0:
            raise BadRecording(NOT_ONE) from None
    if count == 0:
        raise BadRecording(NO_SOUND)


def length_of(path: Path) -> float:
    """Seconds of a recording, as its container says; 0 where it does not, or can't be read."""
    try:
        with path.open("rb") as file, av.open(file, metadata_errors="ignore", options=_OPTIONS) as container:
            duration: int | None = container.duration  # type: ignore[union-attr]  # opened to be read
            return max(0.0, (duration or 0) / 1e6)
    except (av.FFmpegError, ValueError, EOFError, OSError):
        return 0.0


def _portions(container: Any, stream: Any) -> Iterator[Samples]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    silent = damaged = 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damaged += 1
            if damaged > _DAMAGED:
                raise
            continue
        silent = 0 if frames else silent + 1
        if silent > _SILENT_PACKETS:
            raise BadRecording(NOT_ONE)
        for frame in frames:
            if (
                frame.samples > _MOST_SAMPLES
                or frame.layout.nb_channels > _MOST_CHANNELS
                or not 0 < frame.sample_rate <= _MOST_RATE
            ):
                raise BadRecording(NOT_ONE)
            frame.pts = None
            yield from _floats(resampler.resample(frame))
    yield from _floats(resampler.resample(None))


def _floats(frames: list[Any]) -> Iterator[Samples]:
    for frame in frames:
        if frame.samples:
            yield frame.to_ndarray().reshape(-1).astype(np.float32) / 32768.0


def _duration(seconds: int) -> str:
    for unit, each in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * each and seconds % each == 0:
            return f"{seconds // each} {unit}"
    return f"{seconds} seconds"
