"""MCP's own programs for tests: its test server (npm `@modelcontextprotocol/server-everything`), and the suite that clients and
servers are judged by (`@modelcontextprotocol/conformance`), with the Node that it needs.

`python -m tests.support.mcp_server` installs them into `.mcp/`, once, in the versions of `tests/support/mcp/package-lock.json`.
npm has to be there.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import free_port

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".mcp"
WANTED = Path(__file__).resolve().parent / "mcp"
_MODULES = CACHE / "node_modules"
_PROGRAM = _MODULES / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
_SUITE = _MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
_LOCK = "package-lock.json"


def fetch() -> Path:
    """The server's program; all is installed if it is not there in these versions."""
    wanted = (WANTED / _LOCK).read_bytes()
    kept = CACHE / _LOCK
    if not kept.exists() or kept.read_bytes() != wanted:
        npm = shutil.which("npm")
        if npm is None:
            raise FileNotFoundError("npm is not there; it installs the MCP programs that tests speak with.")
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            for name in ("package.json", _LOCK):
                shutil.copy(WANTED / name, work)
            subprocess.run(
                [npm, "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", work], check=True
            )
            shutil.rmtree(_MODULES, ignore_errors=True)
            (Path(work) / "node_modules").rename(_MODULES)
        kept.write_bytes(wanted)
    return _PROGRAM


def conformance() -> tuple[str, str]:
    """The Node that runs the suite, and the suite."""
    fetch()
    nodes = [path for path in _MODULES.glob("node-*/bin/node") if path.is_file()]
    return str(nodes[0] if nodes else shutil.which("node")), str(_SUITE)


class Everything:
    """The running server. url: for streamable HTTP, or of its stream of events."""

    def __init__(self, kind: str, port: int) -> None:
        self._kind, self._port = kind, port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/{'mcp' if self._kind == 'streamableHttp' else 'sse'}"

    @property
    def command(self) -> list[str]:
        """How it is started, but for the way it speaks."""
        return [shutil.which("node") or "node", str(fetch())]

    def start(self) -> None:
        self._process = subprocess.Popen(
            [*self.command, self._kind],
            env={"PATH": os.environ["PATH"], "PORT": str(self._port)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(1_000):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
                return
            time.sleep(0.05)
        raise TimeoutError("The MCP server does not come up.")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def open_everything(kind: str = "streamableHttp") -> Iterator[Everything]:
    server = Everything(kind, free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()


if __name__ == "__main__":
    print(fetch())  # noqa: T201
