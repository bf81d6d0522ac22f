"""`python -m llamaforge.worker`: reads what to run from stdin, reports on stdout, ends when stdin does.

A line of JSON comes in (see `WorkerProcess._greeting`); lines of JSON go out: {"event": "progress", "value"}, {"event":
"ready", "url", "key", "alive", "processes", "memory"} or {"event": "failed", "kind", "error"}. Everything else that
anything prints goes to stderr. alive: see `BaseBackend.alive_path`. processes: those that the backend has started. memory:
bytes by device, RAM left out.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from llamaforge.backends import get_backend
from llamaforge.backends.base import BaseBackend, full_class
from llamaforge.exceptions import BackendNotFoundError, LlamaForgeError, ParameterError
from llamaforge.loading import Plan, start
from llamaforge.parameters import spellings

_PR_SET_PDEATHSIG = 1
_UNLOAD_SECONDS = 2.0


class Channel:
    """The pipe to the parent, taken from stdout before anything else can write there."""

    def __init__(self) -> None:
        self._pipe: BinaryIO = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def ready(self, url: str, key: str, alive: str | None) -> None:
        """Say where the model answers and what it takes."""
        processes = list(_descendants(os.getpid()))
        self.send("ready", url=url, key=key, alive=alive, processes=processes, memory=_memory_of_gpus())

    def send(self, event: str, **values: object) -> None:
        """Write one line."""
        self._pipe.write(json.dumps({"event": event, **values}).encode() + b"\n")
        self._pipe.flush()


def main() -> int:
    """Run one model until the parent lets go."""
    channel = Channel()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if not line:
        sys.stderr.write("This is started by llamaforge, which tells it on stdin what to run.\n")
        return 2
    greeting: dict[str, Any] = json.loads(line)
    _die_with(greeting["parent"])
    if greeting["niceness"] and hasattr(os, "nice"):
        os.nice(greeting["niceness"])
    loaded: list[BaseBackend] = []
    threading.Thread(target=_end_with_stdin, args=(loaded,), daemon=True).start()
    try:
        loaded.append(_load(greeting))
    except LlamaForgeError as error:
        channel.send("failed", kind=type(error).__name__, error=str(error))
        return 1
    backend = loaded[0]
    endpoint = backend.endpoint
    if endpoint is None:
        from llamaforge.worker.api import serve  # noqa: PLC0415 -- an engine with a server of its own needs none of it

        serve(backend, greeting["name"], channel.ready)
    else:
        channel.ready(endpoint.url, endpoint.api_key, backend.alive_path())
        threading.Event().wait()
    return 0


def _load(greeting: dict[str, Any]) -> BaseBackend:
    cls = full_class(_backend_class(greeting["backend"]))
    parameters = dict(greeting["parameters"])
    # What an engine with a server of its own should know: how many requests come at a time, and the name to answer under.
    known = spellings(cls.load_parameters or ())
    given = {known[name].name for name in parameters if name in known}
    told = {"n_parallel": greeting["slots"], "model_alias": greeting["name"]}
    parameters |= {name: value for name, value in told.items() if name in known and name not in given}
    return start(greeting["name"], Plan(cls, greeting["path"], parameters, {}, {}))


def _backend_class(name: str) -> type[BaseBackend]:
    """A registered backend, or the class at "module:Class"."""
    module, separator, attribute = name.partition(":")
    if not separator:
        return get_backend(name)
    try:
        cls: Any = import_module(module)
        for part in attribute.split("."):
            cls = getattr(cls, part)
    except (ImportError, AttributeError) as error:
        raise BackendNotFoundError(
            f"The backend '{name}' can't be imported in a process of its own ({error}). "
            "Define its class at the top of an importable module."
        ) from None
    if not isinstance(cls, type):
        raise ParameterError(f"The backend '{name}' is not a class.")
    return cls


def _descendants(pid: int) -> Iterator[int]:
    """The processes that this one has started, and theirs; none where the system does not tell."""
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # of a thread that has just ended
            for child in listing.read_text(encoding="ascii").split():
                yield int(child)
                yield from _descendants(int(child))


def _memory_of_gpus() -> dict[str, int]:
    """Bytes by device that torch has taken, where an engine uses it."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return {}
    return {f"cuda:{number}": torch.cuda.memory_reserved(number) for number in range(torch.cuda.device_count())}


def _die_with(parent: int) -> None:
    """On Linux the kernel ends this process when the parent is gone, however that came about."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _end_with_stdin(loaded: list[BaseBackend]) -> None:
    """The parent closes stdin to end this process, and so does its death."""
    while os.read(0, 4096):
        pass
    if loaded:
        unloading = threading.Thread(target=loaded[0].unload, daemon=True)
        unloading.start()
        unloading.join(_UNLOAD_SECONDS)
    # Not sys.exit: threads of an engine, or a load that holds the interpreter's lock, must not keep the process.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
