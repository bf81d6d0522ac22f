"""Speech by espeak-ng, a program of the system. Nothing is downloaded and nobody else hears the text.

It is under the GPL-3, so it is only ever run as a program: its library is not loaded. The text goes in by its standard input,
and its arguments are numbers and names of its own list.
"""

import asyncio
import contextlib
import os
import shutil
import struct
from collections.abc import AsyncIterator
from typing import Final

from open_webui.audio.base import MAX_SPEECH, Asked, Named, NoEngine, Speech
from open_webui.errors import BadRequest, Unavailable
from open_webui.internal.child.spawn import close, kill
from open_webui.internal.log import get_logger

log = get_logger(__name__)
PROGRAM: Final = "espeak-ng"
MISSING: Final = (
    "Speaking needs the program espeak-ng, which this machine does not have. Install it (on Debian and Ubuntu:"
    " apt-get install espeak-ng), or choose another engine in the settings of audio."
)
# Programs at once; seconds for each.
AT_ONCE: Final = 4
SECONDS: Final = 60.0
# Words a minute at the usual speed, and the bounds of the program.
_USUAL: Final = 175
_SLOWEST, _FASTEST = 80, 450
DEFAULT: Final = "en"
# Voices of OpenAI, which clients name without asking whether there are others.
OPENAI_VOICES: Final = (
    "alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer", "verse", "marin", "cedar",
)  # fmt: skip
_PIECE: Final = 64 * 1024
_MAX_LIST: Final = 256 * 1024


class EspeakSpeaker:
    """See `base.Speaker`. One for a process: it knows the program's voices once they were asked for."""

    identity = "espeak"
    forms = frozenset({"wav"})
    own = "wav"

    def __init__(self, program: str = PROGRAM) -> None:
        """program: its name or path."""
        self._program = program
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._voices: list[Named] | None = None

    @contextlib.asynccontextmanager
    async def speak(self, asked: Asked) -> AsyncIterator[Speech]:
        """See `base.Speaker`: WAV, 16 bits, one channel."""
        voice = await self._voice(asked.voice)
        words = max(_SLOWEST, min(_FASTEST, round(_USUAL * asked.speed)))
        spoken = await self._run(["-v", voice, "-s", str(words), "--stdin", "--stdout"], asked.text, MAX_SPEECH)
        if len(spoken) < _HEADER:
            raise Unavailable("espeak-ng has given no speech.")
        yield Speech("audio/wav", _pieces(with_sizes(spoken)))

    async def voices(self) -> list[Named]:
        """See `base.Speaker`: one for each language."""
        if self._voices is None:
            self._voices = parse_voices((await self._run(["--voices"], "", _MAX_LIST)).decode(errors="replace"))
        return self._voices

    async def models(self) -> list[Named]:
        """See `base.Speaker`: it has none."""
        return [Named("espeak-ng", "espeak-ng")]

    async def _voice(self, wanted: str) -> str:
        known = {voice.id for voice in await self.voices()}
        if wanted in known:
            return wanted
        if wanted in {"", *OPENAI_VOICES}:
            return DEFAULT
        raise BadRequest(f"There is no voice '{wanted[:100]}' here. /api/v1/audio/voices lists those that there are.")

    async def _run(self, arguments: list[str], text: str, most: int) -> bytes:
        """What the program writes. Raises NoEngine where it is missing, Unavailable where it fails."""
        path = shutil.which(self._program)
        if path is None:
            raise NoEngine(MISSING)
        async with self._turns:
            process = await asyncio.create_subprocess_exec(
                path,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
                | {"LC_ALL": "C.UTF-8"},
                start_new_session=True,
            )
            try:
                async with asyncio.timeout(SECONDS):
                    return await _talk(process, text, most)
            except TimeoutError:
                raise Unavailable(f"espeak-ng took longer than {SECONDS:g} seconds, and was ended.") from None
            finally:
                if process.returncode is None:
                    kill(process)
                # Before it is waited for: asyncio takes a process for ended when all that it wrote was read.
                close(process)
                await asyncio.shield(process.wait())


async def _talk(process: asyncio.subprocess.Process, text: str, most: int) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    writing = asyncio.create_task(_write(process.stdin, text))
    try:
        found = bytearray()
        while piece := await process.stdout.read(_PIECE):
            found += piece
            if len(found) > most:
                raise Unavailable("espeak-ng has given more speech than the server takes.")
        await writing
    finally:
        writing.cancel()
    if await process.wait() != 0:
        log.warning("espeak-ng failed", status=process.returncode)
        raise Unavailable("espeak-ng could not speak the text.")
    return bytes(found)


async def _write(stdin: asyncio.StreamWriter, text: str) -> None:
    # It may end before it has read everything.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        # The program reads texts up to a NUL.
        stdin.write(text.replace("\0", " ").encode(errors="replace"))
        await stdin.drain()
    stdin.close()


async def _pieces(whole: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(whole), _PIECE):
        yield whole[at : at + _PIECE]


# Bytes of the header of a WAV file as the program writes it: RIFF, the format, and the beginning of the data.
_HEADER: Final = 44


def with_sizes(wav: bytes) -> bytes:
    """A WAV file of a pipe with its true sizes: who writes into one can't go back to fill them in."""
    if wav[:4] != b"RIFF" or wav[36:40] != b"data":
        return wav
    return wav[:4] + struct.pack("<I", len(wav) - 8) + wav[8:40] + struct.pack("<I", len(wav) - _HEADER) + wav[_HEADER:]


def parse_voices(said: str) -> list[Named]:
    """The voices of the program's table: the second word of a line is a language, the fourth what it is called."""
    found: dict[str, Named] = {}
    for line in said.splitlines()[1:]:
        words = line.split()
        if len(words) >= 4 and words[1] not in found:
            found[words[1]] = Named(words[1], words[3].replace("_", " "))
    return sorted(found.values(), key=lambda voice: voice.name.lower())
