"""What the process is asked, with nothing heavy in it."""

import msgspec


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A recording to listen to, or to cut.

    path: its file. max_seconds: longer ones are refused. model: the folder of a Whisper model; language: its code, None: it is
    found out. into: the folder for the parts of a recording that is only cut, each of them so many seconds long at most.
    """

    path: str
    max_seconds: int
    model: str = ""
    language: str | None = None
    into: str = ""
    each: int = 0


class Cut(msgspec.Struct, frozen=True):
    """A part of a recording. path: a WAV file. start, end: seconds of the recording."""

    path: str
    start: float
    end: float
