"""The two ports: who speaks, and who listens."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Protocol

import msgspec

from open_webui.errors import BadRequest, Unavailable

# Characters that are spoken at once: OpenAI's limit.
MAX_TEXT: Final = 4_096
# Bytes of speech that an engine may give for them.
MAX_SPEECH: Final = 64 * 2**20


class NoEngine(Unavailable):
    """What was asked for needs a program, an extra, a model or a key that is not there. `detail` names it."""


class NoSpeech(BadRequest):
    """A recording that can't be listened to: damaged, of no known kind, too long, or without sound."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said. voice, model: names as the engine knows them. form: mp3, wav, opus, aac, flac or pcm, as somebody
    would like it; an engine that can't gives another one. speed: 1 is as usual.
    """

    text: str
    voice: str
    model: str
    form: str = "mp3"
    speed: float = 1.0


class Speech(msgspec.Struct, frozen=True):
    """Speech as it comes. mime: what it is. pieces: its bytes; to be read once."""

    mime: str
    pieces: AsyncIterator[bytes]


class Named(msgspec.Struct, frozen=True):
    """A voice or a model: its id and what people read."""

    id: str
    name: str


class Speaker(Protocol):
    """An engine that speaks.

    identity: what, besides what is asked, its speech depends on; a part of the key under which speech is remembered.
    forms: the formats that it gives. own: the one that it gives where nobody asks for another.
    """

    identity: str
    forms: frozenset[str]
    own: str

    def speak(self, asked: Asked) -> AbstractAsyncContextManager[Speech]:
        """The speech. Entering raises NoEngine, BadRequest, ProviderError; reading raises ProviderError."""
        ...

    async def voices(self) -> list[Named]:
        """Its voices. Raises NoEngine, ProviderError."""
        ...

    async def models(self) -> list[Named]:
        """Its models. Raises NoEngine, ProviderError."""
        ...


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A recording in a file. name: with an ending. mime: as its sender calls it. size: in bytes."""

    path: Path
    name: str
    mime: str
    size: int


class Part(msgspec.Struct, frozen=True):
    """A part of what was heard, from and to a second of the recording. speaker: 1 is the first, 0 where it is not told."""

    start: float
    end: float
    text: str
    speaker: int = 0


class Heard(msgspec.Struct, frozen=True):
    """What was heard. language: a code, "" where it is not told. seconds: how long the recording is, 0 where it is not told."""

    text: str
    language: str = ""
    seconds: float = 0.0
    parts: tuple[Part, ...] = ()


class Sofar(msgspec.Struct, frozen=True):
    """What was heard of a recording up to a second of it, at a place where it may be gone on with.

    by: who listened, and how; another begins anew. texts: those of its pieces, in their order.
    """

    at: float = 0.0
    by: str = ""
    language: str = ""
    texts: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()


class Telling:
    """Who is told how far listening is. This one tells nobody, and remembers nothing.

    sofar: what was heard at an earlier attempt.
    """

    sofar = Sofar()

    async def reached(self, at: float, of: float) -> None:
        """So many seconds were listened to. of: how many there are, as the recording says; 0 where it does not."""

    async def said(self, text: str) -> None:
        """The words that were heard next. All of them, with a space between each two, are the text of the whole."""

    async def keep(self, sofar: Sofar) -> None:
        """A piece was heard; with all before it, to be remembered."""


class Listener(Protocol):
    """An engine that listens.

    model: its name, for the count of calls. largest: bytes of a recording that it takes; 0: as many as there are.
    """

    model: str
    largest: int

    async def listen(self, recording: Recording, language: str | None) -> Heard:
        """What is said in a recording. language: a code such as "en"; None: the engine finds out.

        Raises NoEngine, NoSpeech, BadRequest, ProviderError.
        """
        ...
