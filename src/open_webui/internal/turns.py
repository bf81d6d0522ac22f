"""How long the event loop's turns are by the CPU time of its thread: nobody else is answered while one lasts.

CPU time does not grow while the loop waits or another process has the core, so one reading a turn is enough, and a busy
machine makes no turn longer. Nothing runs while the loop is idle.
"""

import asyncio
import ctypes
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from open_webui.internal.log import get_logger, shown_path

log = get_logger(__name__)
# Upper bounds, in seconds, of the classes in which turns are counted.
BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
# A turn that takes longer is one line in the log.
LONG_SECONDS: Final = 0.05
# Of so many requests a turn remembers that it worked on them.
MOST_NOTED: Final = 8
_UV_PREPARE: Final = 9
_PREPARE_CALLBACK: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_POINTER_OF: Final = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_read_clock = time.thread_time
# What libuv may read until some turn after it was closed: 120 bytes for each loop that was watched.
_kept: list[object] = []


class Turns:
    """counts: turns by the first of BOUNDS that they don't exceed, the last item for longer ones. longest, total: seconds.

    note: takes the ASGI scope of a request whenever work on it begins, to be named when the turn is long.
    """

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.longest = 0.0
        self.total = 0.0
        self._last = 0.0
        self._noted: deque[Any] = deque(maxlen=MOST_NOTED)
        self.note: Callable[[Any], None] = self._noted.append

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Measures the running loop's turns meanwhile. A kind of loop that can't be watched leaves all counts at zero."""
        loop = asyncio.get_running_loop()
        self._last = _read_clock()
        stop = _on_uvloop(loop, self._end) if "uvloop" in type(loop).__module__ else _on_selector(loop, self._end)
        try:
            yield
        finally:
            stop()

    def metrics(self, worker: int = 0) -> str:
        """In the text format of Prometheus. worker: the label that tells which of several processes this is; 0: none."""
        lines, count = [], 0
        label = f'worker="{worker}"' if worker else ""
        more_labels, labels = f"{label}," if label else "", f"{{{label}}}" if label else ""
        for bound, more in zip((*BOUNDS, "+Inf"), self.counts, strict=True):
            count += more
            lines.append(f'oui_loop_turn_cpu_seconds_bucket{{{more_labels}le="{bound}"}} {count}')
        return "\n".join(
            (
                "# HELP oui_loop_turn_cpu_seconds CPU time of the event loop's turns; nobody else is answered while one lasts.",
                "# TYPE oui_loop_turn_cpu_seconds histogram",
                *lines,
                f"oui_loop_turn_cpu_seconds_sum{labels} {self.total:.6f}",
                f"oui_loop_turn_cpu_seconds_count{labels} {count}",
                "# HELP oui_loop_longest_turn_cpu_seconds The longest of them since the start.",
                "# TYPE oui_loop_longest_turn_cpu_seconds gauge",
                f"oui_loop_longest_turn_cpu_seconds{labels} {self.longest:.6f}",
                "",
            )
        )

    def _end(self, _handle: object = None) -> None:
        """Called between two turns."""
        now = _read_clock()
        took = now - self._last
        self._last = now
        self.total += took
        if took < BOUNDS[0]:
            self.counts[0] += 1
        else:
            self._count(took)
        if self._noted:
            self._noted.clear()

    def _count(self, took: float) -> None:
        self.counts[next((n for n, bound in enumerate(BOUNDS) if took <= bound), -1)] += 1
        self.longest = max(self.longest, took)
        if took > LONG_SECONDS:
            names = list(
                dict.fromkeys(f"{scope.get('method', '')} {shown_path(scope['path'])}" for scope in self._noted)
            )
            log.info("a turn of the event loop was long", cpu_seconds=round(took, 3), requests=names)


def _on_selector(loop: asyncio.AbstractEventLoop, between: Callable[[], None]) -> Callable[[], None]:
    """A loop of asyncio waits in its selector. Returns what ends it."""
    selector = getattr(loop, "_selector", None)
    if selector is None:
        return lambda: None
    select = selector.select

    def wait(timeout: float | None = None) -> Any:
        between()
        return select(timeout)

    selector.select = wait
    # What was there may be the watch of another application in this loop.
    return lambda: setattr(selector, "select", select)


def _on_uvloop(loop: asyncio.AbstractEventLoop, between: Callable[[object], None]) -> Callable[[], None]:
    """Under uvloop, libuv calls its "prepare" handles before it waits. uvloop offers none, but the loop's address, and in
    its library the functions. Returns what ends it, which the running loop must do.
    """
    module = sys.modules["uvloop.loop"]
    try:
        uv = ctypes.PyDLL(module.__file__)
        init, start, close = uv.uv_prepare_init, uv.uv_prepare_start, uv.uv_close
        handle = ctypes.create_string_buffer(uv.uv_handle_size(_UV_PREPARE))
        uv.uv_unref.argtypes = (ctypes.c_void_p,)
        address = _POINTER_OF(module.libuv_get_loop_t_ptr(loop), None)
    except (AttributeError, OSError):
        log.warning("the turns of the event loop can't be measured with this uvloop")
        return lambda: None
    for function in (init, start, close):
        function.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    callback = _PREPARE_CALLBACK(between)
    _kept.extend((handle, callback))
    place = ctypes.addressof(handle)
    init(address, place)
    start(place, ctypes.cast(callback, ctypes.c_void_p))
    # It does not keep the loop from ending.
    uv.uv_unref(place)
    return lambda: close(place, None)
