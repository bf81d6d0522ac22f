"""Runs in the child process: makes the pictures of one order after the other with a model that stays loaded.

`python -m open_webui.images.diffusion`. It works in a thread, so that each call tells how far it is. It has limits of memory
that an order can't lift, gives way to other processes, and dies at worst.
"""

import functools
import os
import queue
import sys
import threading
from typing import TYPE_CHECKING, Final

import msgspec

from open_webui.images.diffusion.calls import Call, Step
from open_webui.images.diffusion.folders import BadModel
from open_webui.internal.child.serve import serve

if TYPE_CHECKING:
    from open_webui.images.diffusion.pipes import Pipe

if sys.platform != "win32":
    import resource

# Bytes of a file that it may write, and how much it gives way.
_FILE: Final = 2**26
_NICE: Final = 5


class _Refused(Exception):
    """Why there are no pictures, as a sentence."""


class _Stopped(Exception):
    """Nobody waits for it any more."""


class _Work:
    """An order in its thread. What it says is in the queue: steps, at last one that is over, or why there is none."""

    _pipe: "Pipe | None" = None

    def __init__(self, call: Call) -> None:
        self._call = call
        self._said: queue.SimpleQueue[Step | BaseException] = queue.SimpleQueue()
        self._stops = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def next(self) -> Step:
        """The next step. Raises what the work raised."""
        said = self._said.get()
        if isinstance(said, BaseException):
            raise said
        return said

    def stop(self) -> None:
        """Waits until the step is over that is being made."""
        self._stops.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._make()
        except BaseException as error:  # noqa: BLE001 - raised in the thread that answers
            self._said.put(error)

    def _make(self) -> None:
        call = self._call
        from open_webui.images.diffusion.pipes import BadOrder, Pipe  # noqa: PLC0415 - seconds of work

        try:
            if _Work._pipe is None or _Work._pipe.folder != call.folder:
                pipe, _Work._pipe = _Work._pipe, None
                if pipe is not None:
                    pipe.close()
                _Work._pipe = Pipe(call)
            for place in range(call.count):
                seed = (call.seed + place) % 2**32
                self._told(place, 0, 1)
                picture = _Work._pipe.make(call, seed, functools.partial(self._told, place))
                self._said.put(Step(done=(place + 1) / call.count, picture=picture, seed=seed))
        except (BadModel, BadOrder) as error:
            raise _Refused(str(error)) from None
        self._said.put(Step(done=1.0, is_over=True))

    def _told(self, place: int, step: int, of: int) -> None:
        if self._stops.is_set():
            raise _Stopped
        self._said.put(Step(done=(place + min(step / of, 1.0)) / self._call.count))


class _Worker:
    """Answers the calls: one order at a time."""

    def __init__(self) -> None:
        self._work: _Work | None = None

    def answer(self, request: bytes) -> bytes:
        """See `Call`."""
        call = msgspec.msgpack.decode(request, type=Call)
        if not call.goes_on or self._work is None:
            work, self._work = self._work, None
            if work is not None:
                work.stop()
            if call.stops or call.goes_on:
                return msgspec.msgpack.encode(Step(is_over=True))
            self._work = _Work(call)
        step = self._work.next()
        if step.is_over:
            self._work = None
        return msgspec.msgpack.encode(step)


def _limit() -> None:
    if hasattr(os, "nice"):
        os.nice(_NICE)
    if sys.platform == "linux":
        for which, most in ((resource.RLIMIT_FSIZE, _FILE), (resource.RLIMIT_CORE, 0)):
            _, hard = resource.getrlimit(which)
            resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    _limit()
    serve(_Worker().answer, (_Refused,))
