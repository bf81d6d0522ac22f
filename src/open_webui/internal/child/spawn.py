"""Processes of ours: started with nothing that is secret, and ended."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping
from typing import Final

from open_webui.errors import Unavailable
from open_webui.internal.child.serve import PARENT

# Lines of a process's stderr that are kept for the log of a crash.
LOG_LINES: Final = 20
_GRACE: Final = 2.0
# What the process gets of this one's environment: nothing that is secret.
_KEPT: Final = (
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
    "LD_LIBRARY_PATH",
    "XDG_CACHE_HOME",
)


async def spawn(
    module: str, name: str, environment: Mapping[str, str], errors: deque[str]
) -> asyncio.subprocess.Process:
    """A process that runs a module. errors: gets the last lines of its stderr. Raises Unavailable."""
    own = {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(environment)
    own |= {"PYTHONPATH": _import_path(), PARENT: str(os.getpid())}
    try:
        process = await asyncio.create_subprocess_exec(
            *command(module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=own,
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"{name} can't be started: {error}") from error
    assert process.stderr is not None
    # Ends with the process's stderr.
    reading = asyncio.create_task(_read_errors(process.stderr, errors), name=f"stderr of {module}")
    reading.add_done_callback(lambda task: task.cancelled() or task.exception())
    return process


def command(module: str) -> tuple[str, ...]:
    """What runs a module, without the working directory in its path."""
    return sys.executable, "-P", "-m", module


async def _read_errors(stream: asyncio.StreamReader, errors: deque[str]) -> None:
    while data := await stream.read(65536):
        errors += data.decode(errors="replace").splitlines()[-LOG_LINES:]


def _import_path() -> str:
    """That of this process, without the working directory that '' stands for."""
    return os.pathsep.join(os.path.abspath(path) for path in sys.path if path)  # noqa: PTH100 - not every entry is a path


def kill(process: asyncio.subprocess.Process) -> None:
    """Ends a process, and those that it started, at once."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


async def end(process: asyncio.subprocess.Process) -> None:
    """Ends a process: asked by the end of its pipe, killed a moment later."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(_GRACE):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        kill(process)
    try:
        await process.wait()
    finally:
        close(process)


def close(process: asyncio.subprocess.Process) -> None:
    """Closes the pipes of a process that has ended: asyncio does so only when all that it said was read."""
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way to it
