"""Text for a terminal: control characters of other people's text are shown there, never obeyed; elsewhere it passes as it is."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from pathlib import Path
from typing import TextIO

if sys.platform != "win32":
    import select

# A line end and a tab stay. A carriage return goes, since "\r\n" is a line end, too, and alone it overwrites the line.
_PICTURES: dict[int, str | None] = {
    **{code: chr(0x2400 + code) for code in range(0x20) if code not in {0x09, 0x0A}},
    **{code: f"\\x{code:x}" for code in range(0x80, 0xA0)},
    0x7F: "␡",
    0x0D: None,
    # What orders, hides or breaks text without being seen. Joiners stay: scripts and emoji are written with them.
    **{
        code: f"\\u{code:04x}"
        for code in (0x061C, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2060, 0x2070))
    },
    0xFEFF: "\\ufeff",
}
_IN_A_LINE = _PICTURES | {0x09: " ", 0x0A: "␊"}


def shown(text: str) -> str:
    """`text` with its control characters (but newline and tab) as pictures, so that a terminal obeys none of them.

    Marks that turn the direction of text or that nobody sees are shown as escapes.
    """
    return text.translate(_PICTURES)


def one_line(text: str) -> str:
    """The same for a cell of a table: line ends are pictures, too."""
    return text.translate(_IN_A_LINE)


def write(text: str, *, err: bool = False) -> None:
    """Write to stdout, or stderr, at once: `shown` on a terminal, the text as it is elsewhere. Raises OSError."""
    stream = sys.stderr if err else sys.stdout
    stream.write(shown(text) if stream.isatty() else text)
    stream.flush()


def is_text(text: str) -> bool:
    """Whether these are characters, and not bytes that were no UTF-8 (which Python hides in lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_utf8(stream: TextIO) -> bool:
    """Whether the stream takes every character."""
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")


def prepare_streams() -> None:
    """See to it that no character makes a write fail: one that the encoding lacks is written as an escape.

    A stream that was closed before the start takes and gives nothing.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - as long as the process
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def abandon(stream: TextIO) -> None:
    """Let what the stream still holds go nowhere, so that the end of the process does not try to write it again."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):  # a stream without a file behind it holds nothing back
        return


# ---- what a person types

_PASTE_SECONDS = 0.02
_HISTORY = 1000


def edit_lines(history: Path | None = None) -> None:
    """Give `read` line editing and, where the terminal marks what is pasted, pastes as a whole. Nothing on Windows.

    history: a file for the lines of this process and of earlier ones, which only its owner may read.
    """
    with contextlib.suppress(ImportError):
        import readline  # noqa: PLC0415 - importing it is what changes input()

        if _marks_pastes():
            readline.parse_and_bind("set enable-bracketed-paste on")
        if history is not None:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                os.close(os.open(history, os.O_RDWR | os.O_CREAT, 0o600))
                readline.read_history_file(history)
                readline.set_history_length(_HISTORY)
                atexit.register(readline.write_history_file, history)


def read(prompt: str) -> str:
    """A line from stdin; on a terminal all lines of what is pasted at once, but for commands. Raises EOFError."""
    text = input(prompt)
    while not text.startswith("/") and _more_waits():
        text += "\n" + input()
    return text


def _marks_pastes() -> bool:
    """Whether input() asks the terminal for marks around what is pasted. Of the two libraries only GNU's can."""
    library = sys.modules.get("readline")
    return library is not None and "libedit" not in (library.__doc__ or "") and os.environ.get("TERM") != "dumb"


def _more_waits() -> bool:
    """Without marks: whether more is there in less time than anybody types."""
    if sys.platform == "win32" or not sys.stdin.isatty() or _marks_pastes():
        return False
    return bool(select.select([sys.stdin], [], [], _PASTE_SECONDS)[0])
