"""The child's end of the pipe, with the standard library alone.

Frames are four bytes of length (little-endian) and so many bytes. An answer's first byte says whether it is a result or
a refusal.
"""

import ctypes
import os
import signal
import struct
import sys
from collections.abc import Callable
from typing import BinaryIO, Final

LENGTH: Final = struct.Struct("<I")
RESULT: Final = b"\x00"
REFUSAL: Final = b"\x01"
# The variable with the parent's number.
PARENT: Final = "OUI_PARENT"
_PR_SET_PDEATHSIG: Final = 1


def serve(answer: Callable[[bytes], bytes], refusals: tuple[type[Exception], ...]) -> None:
    """Answers the calls of the parent until it closes the pipe. refusals: what `answer` raises with a sentence in it.

    Anything else that it raises ends the process. What the process prints goes to stderr.
    """
    end_with_parent()
    calls, answers = take_pipes()
    while head := calls.read(LENGTH.size):
        if len(head) < LENGTH.size:
            return
        request = calls.read(LENGTH.unpack(head)[0])
        try:
            result = RESULT + answer(request)
        except refusals as error:
            result = REFUSAL + str(error).encode()
        answers.write(LENGTH.pack(len(result)) + result)
        answers.flush()


def end_with_parent() -> None:
    """On Linux the system ends this process when the parent is gone, also in the middle of a call; elsewhere it ends after it."""
    if sys.platform == "linux" and (parent := os.environ.get(PARENT)):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            os._exit(1)


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Both pipes as they were; in their places stand nothing and stderr, for what libraries read and print."""
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return calls, answers
