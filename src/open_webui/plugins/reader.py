"""Runs in the child process: reads plugins, checks values of their forms, compares and lays out texts.

`python -m open_webui.plugins.reader`. A text may be made so that reading it takes all there is of time and memory: it costs this
process, and not the server.
"""

import difflib
import gc
import importlib
import sys
import warnings
from importlib.util import find_spec
from typing import Any, Final

import msgspec

from open_webui.internal.child.serve import serve
from open_webui.plugins import reading
from open_webui.plugins.text import Check, Compare, Format, Read, Request, Unreadable

if sys.platform != "win32":
    import resource

_MEMORY: Final = 1 << 30
# Bytes of an answer.
_MOST: Final = 8 << 20
TOO_MUCH: Final = "There is too much in it to be read."
_decoder: Final = msgspec.msgpack.Decoder(Request)


def answer(request: bytes) -> bytes:
    """The answer to a request of the server's. Raises Unreadable."""
    asked = _decoder.decode(request)
    # What is parsed has no cycles, and looking for some takes half of the time.
    gc.disable()
    try:
        answered = msgspec.msgpack.encode(_answer(asked))
        if len(answered) > _MOST:
            raise Unreadable(TOO_MUCH)
        return answered
    except MemoryError:
        raise Unreadable(TOO_MUCH) from None
    finally:
        gc.enable()


def _answer(asked: Request) -> Any:
    match asked:
        case Read(content=content):
            return reading.read(content)
        case Check(content=content, which=which, values=values):
            return reading.check(content, which, values)
        case Compare():
            return compared(asked)
        case Format(code=code):
            return formatted(code)


def compared(asked: Compare) -> list[str]:
    """The lines of a unified diff of two texts."""
    old, new = asked.old.splitlines(), asked.new.splitlines()
    return list(difflib.unified_diff(old, new, asked.old_name, asked.new_name, lineterm=""))


def formatted(code: str) -> str:
    """The code as the formatter lays it out that is installed; as it is where there is none. Raises Unreadable."""
    reading.parsed(code)
    if find_spec("black") is None:
        return code if not code or code.endswith("\n") else f"{code}\n"
    black: Any = importlib.import_module("black")
    try:
        return str(black.format_str(code, mode=black.Mode()))
    except (black.InvalidInput, black.parsing.ASTSafetyError) as error:
        raise Unreadable(f"It can't be formatted: {error}") from None


def main() -> None:
    """Answers the server until it closes the pipe."""
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    serve(answer, (Unreadable,))


if __name__ == "__main__":
    main()
