"""What the process is asked, with nothing heavy in it."""

import msgspec

from open_webui.audio.base import Part


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A recording to listen to, or to cut.

    path: its file. max_seconds: longer ones are refused. model: the folder of a Whisper model; language: its code, None: it is
    found out. into: the folder for the parts of a recording that is only cut, each of them so many seconds long at most.
    at: the second from which on it is listened to. goes_on: the next step of the recording that the last call began.
    """

    path: str
    max_seconds: int
    model: str = ""
    language: str | None = None
    into: str = ""
    each: int = 0
    at: float = 0.0
    goes_on: bool = False


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step of listening. at: seconds that were listened to, of so many as the recording says; 0 where it does not.

    parts: what a piece says, where one has ended (is_cut), with its language's code; else what was heard of it since the last
    step. is_over: there is no more.
    """

    at: float
    of: float = 0.0
    language: str = ""
    parts: tuple[Part, ...] = ()
    is_cut: bool = False
    is_over: bool = False


class Cut(msgspec.Struct, frozen=True):
    """A part of a recording. path: a WAV file. start, end: seconds of the recording."""

    path: str
    start: float
    end: float
