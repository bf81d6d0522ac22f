"""Recordings for the tests, good ones in several containers and bad ones."""

import io
from typing import Any

import av
import numpy as np

from tests.support.speech_service import tone


def encoded(container: str, codec: str, seconds: float = 2.0, *, loud: float = 0.3) -> bytes:
    """A note in a container."""
    made = io.BytesIO()
    with av.open(made, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=48_000)
        stream.layout = "mono"
        size = 960
        for n in range(int(seconds * 48_000 / size)):
            wave = loud * np.sin(2 * np.pi * 440 * np.arange(n * size, (n + 1) * size) / 48_000)
            frame = av.AudioFrame.from_ndarray((wave * 32767).astype("<i2").reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate = 48_000
            frame.pts = n * size
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return made.getvalue()


def film_without_sound() -> bytes:
    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as out:
        stream: Any = out.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return made.getvalue()


def promising() -> bytes:
    """A WAV file whose header promises 4 GB."""
    good = tone(0.5)
    return good[:4] + b"\xff\xff\xff\xff" + good[8:40] + b"\xff\xff\xff\xff" + good[44:]


def many_channels() -> bytes:
    """A WAV file of 65,535 channels and 4 billion samples a second."""
    good = tone(0.5)
    return good[:22] + b"\xff\xff" + b"\xff\xff\xff\xff" + good[28:]
