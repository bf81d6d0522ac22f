"""What a forked child does: one plugin, many calls at once. Coroutines run on its loop, other functions in threads."""

import asyncio
import contextlib
import importlib
import os
import socket
import sys
from typing import Any, Final

from oui_sandbox import describe, facade, sockets
from oui_sandbox.calls import Calls
from oui_sandbox.channel import Channel
from oui_sandbox.confine import Confined
from oui_sandbox.confine import prepare as prepare_bounds
from oui_sandbox.output import Output
from oui_sandbox.plugin import Plugin
from oui_sandbox.protocol import pack

# What may be known of the machine inside.
_KEPT: Final = frozenset({"LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"})
# What names a worker's scratch folder.
_OWN: Final = ("HOME", "TMPDIR", "DATA_DIR")
_NO_PROCESSES: Final = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn", "os.spawn"}
)


def prepare() -> None:
    """In the zygote: what every worker needs."""
    facade.install()
    # Whatever runs once here is shared by all of them: what is loaded, made and remembered by it.
    prepare_bounds()
    _environment("/")
    importlib.import_module("concurrent.futures.thread")
    asyncio.run(asyncio.sleep(0))
    if "pydantic" in sys.modules:
        describe.describe("tool", _Sample(), None)


class _Sample:
    """A tool, described once."""

    def call(self, text: str, number: int = 0, names: list[str] | None = None) -> str:
        """Is not called."""
        return f"{text}{number}{names}"


def run(frames: int, network: int | None, order: dict[str, Any], confined: Confined) -> None:
    """In the worker: until the server closes its end."""
    _environment(order["scratch"])
    control = None if network is None else socket.socket(fileno=network)
    sockets.open_control(control, order.get("refusal") or "Plugins of this server have no network.")
    sys.stdout = sys.stderr = Output()
    sys.addaudithook(_no_processes)
    asyncio.run(_serve(socket.socket(fileno=frames), confined))


def refuse(frames: int, confined: Confined) -> None:
    """Says that nothing may run here."""
    socket.socket(fileno=frames).sendall(pack({"op": "unsafe", "limits": confined.limits}))


async def _serve(sock: socket.socket, confined: Confined) -> None:
    channel = Channel(sock)
    facade.connect(channel)
    calls = Calls(channel, Plugin(channel))
    channel.handle = calls.take
    channel.only_call = calls.only
    channel.send({"op": "ready", "limits": confined.limits, "own_space": confined.own_space})
    await channel.serve()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(0)


def _environment(scratch: str) -> None:
    for name in [name for name in os.environ if name not in _KEPT and name not in _OWN]:
        del os.environ[name]
    os.environ.update(dict.fromkeys(_OWN, scratch) | {"PATH": "/usr/bin:/bin"})


def _no_processes(event: str, _: Any) -> None:
    if event in _NO_PROCESSES:
        raise PermissionError("A plugin can't start other programs.")
