"""Runs in the child process: makes mp3, opus, flac, aac and bare samples of the samples of speech, as they come.

`python -m open_webui.audio.encoder`. It works on several streams by turns. It has limits of memory, and dies at worst.
"""

import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import av
import msgspec
import numpy as np

from open_webui.audio.encoder.calls import Portion
from open_webui.internal.child.serve import serve

if sys.platform != "win32":
    import resource

_MEMORY: Final = 2**30
# Streams that are begun. Who leaves does not end theirs: the one that was not gone on with longest goes.
_MOST: Final = 64
_SLOWEST, _FASTEST = 4_000, 96_000
# Of each format: its container, its codec, the rates that it has (none: any) and its bits a second (0: as it comes).
_MP3: Final = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_FORMS: Final[Mapping[str, tuple[str, str, tuple[int, ...], int]]] = {
    "mp3": ("mp3", "libmp3lame", _MP3, 64_000),
    "opus": ("ogg", "libopus", (48_000,), 32_000),
    "flac": ("flac", "flac", (), 0),
    "aac": ("adts", "aac", _MP3, 64_000),
}
# Bare samples have no place in which their rate is said: OpenAI's.
_PCM: Final = 24_000
_streams: "OrderedDict[int, Encoded | Bare]" = OrderedDict()


class BadStream(Exception):
    """Why a format can't be made, as a sentence."""


class _Written:
    """A file that is only written on. What was written is taken out of it."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: bytes) -> int:
        """As a file does."""
        self._held += data
        return len(data)

    def taken(self) -> bytes:
        """What was written since the last time."""
        found, self._held = bytes(self._held), bytearray()
        return found


class Encoded:
    """A stream in a container."""

    def __init__(self, form: str, rate: int) -> None:
        """Raises BadStream."""
        container, codec, rates, bits = _FORMS[form]
        self._rate = rate
        self._file = _Written()
        # The head of an mp3 says how long it is, which nobody knows yet.
        options = {"write_xing": "0"} if form == "mp3" else {}
        try:
            self._out = av.open(self._file, "w", format=container, options=options)
            stream: Any = self._out.add_stream(codec, rate=rate if not rates or rate in rates else rates[-1])
        except (av.FFmpegError, ValueError) as error:
            raise BadStream(f"The format {form} can't be made on this machine: {str(error)[:200]}") from None
        stream.layout = "mono"
        if bits:
            stream.bit_rate = bits
        self._stream = stream

    def more(self, samples: bytes) -> bytes:
        """What samples become."""
        if samples:
            self._out.mux(self._stream.encode(_frame(samples, self._rate)))
        return self._file.taken()

    def end(self) -> bytes:
        """What is left."""
        self._out.mux(self._stream.encode(None))
        self._out.close()
        return self._file.taken()


class Bare:
    """Samples alone."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=_PCM)

    def more(self, samples: bytes) -> bytes:
        """What samples become."""
        return self._bytes(_frame(samples, self._rate)) if samples else b""

    def end(self) -> bytes:
        """What is left."""
        return self._bytes(None)

    def _bytes(self, frame: Any) -> bytes:
        found = self._resampler.resample(frame)
        return b"".join(one.to_ndarray().astype("<i2").tobytes() for one in found)


def _frame(samples: bytes, rate: int) -> Any:
    frame = av.AudioFrame.from_ndarray(np.frombuffer(samples, "<i2").reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = rate
    return frame


def answer(request: bytes) -> bytes:
    """See `Portion`."""
    asked = msgspec.msgpack.decode(request, type=Portion)
    made = _begun(asked) if asked.is_first else _streams.pop(asked.stream, None)
    if made is None:
        raise BadStream("The speech is not gone on with: too much is converted at once, or the process began anew.")
    try:
        found = made.more(asked.samples)
        if asked.is_last:
            return found + made.end()
    except (av.FFmpegError, ValueError) as error:
        raise BadStream(f"The format {asked.form} could not be made: {str(error)[:200]}") from None
    _streams[asked.stream] = made
    while len(_streams) > _MOST:
        _streams.popitem(last=False)
    return found


def _begun(asked: Portion) -> Encoded | Bare:
    if not _SLOWEST <= asked.rate <= _FASTEST:
        raise BadStream("The speech has an odd number of samples a second.")
    return Bare(asked.rate) if asked.form == "pcm" else Encoded(asked.form, asked.rate)


def _limit() -> None:
    """What the system lets the process have."""
    if sys.platform != "linux":
        return
    for which, most in ((resource.RLIMIT_DATA, _MEMORY), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(which)
        resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    _limit()
    serve(answer, (BadStream,))
