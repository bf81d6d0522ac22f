"""A real Redis for the tests, on a free port and with nothing on disk: alone, watched by a sentinel, or as a cluster."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from open_webui.internal.redis_servers import RedisServers
from tests.support.process import die_with_parent, free_port

_START_SECONDS = 20


class Redis:
    """A server that may be stopped and started again on its port; what it held is gone then."""

    def __init__(self, *options: str, port: int | None = None) -> None:
        """options: more of `redis-server`'s."""
        self.port = port or free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def servers(self, **options: object) -> RedisServers:
        """What a process that is to use it connects by."""
        return RedisServers(urlsplit(self.url), **options)  # type: ignore[arg-type]

    def start(self) -> None:
        """Raises FileNotFoundError when there is no `redis-server`, RuntimeError when it does not come up."""
        program = shutil.which("redis-server")
        if program is None:
            raise FileNotFoundError("No Redis was found. Install the package `redis-server`.")
        self._folder = Path(tempfile.mkdtemp(prefix="oui-redis-"))
        self._process = subprocess.Popen(
            [program, *self._command(), *self._options],
            cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent,
        )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                if self.ask("PING") == "+PONG":
                    return
            time.sleep(0.005)
        self.stop()
        raise RuntimeError("Redis did not start.")

    def _command(self) -> list[str]:
        return ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]

    def ask(self, command: str) -> str:
        """The first line of its answer to one command."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.makefile().readline().strip()

    def stop(self) -> None:
        """Kills it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None
            shutil.rmtree(self._folder, ignore_errors=True)

    def freeze(self, stopped: bool) -> None:
        """Has it answer nothing, though its connections stay, or go on."""
        import signal

        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if stopped else signal.SIGCONT)


class Sentinel(Redis):
    """A sentinel that watches one master under the name `mymaster`, and takes it for gone after a second."""

    def __init__(self, master: Redis) -> None:
        super().__init__()
        self._master = master

    def _command(self) -> list[str]:
        config = self._folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {self._master.port} 1\n"
            "sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 3000\n"
        )
        return [str(config), "--sentinel"]


@contextlib.contextmanager
def cluster(count: int = 3) -> Iterator[list[Redis]]:
    """The nodes of a cluster that share its slots."""
    nodes = [Redis("--cluster-enabled", "yes", port=_port_for_node()) for _ in range(count)]
    with contextlib.ExitStack() as stack:
        for node in nodes:
            node.start()
            stack.callback(node.stop)
        for index, node in enumerate(nodes):
            first, last = index * 16384 // count, (index + 1) * 16384 // count - 1
            assert node.ask(f"CLUSTER ADDSLOTSRANGE {first} {last}") == "+OK"
            assert node.ask(f"CLUSTER SET-CONFIG-EPOCH {index + 1}") == "+OK"
            assert node.ask(f"CLUSTER MEET 127.0.0.1 {nodes[0].port}") == "+OK"
        deadline = time.monotonic() + _START_SECONDS
        while any(not _is_whole(node, count) for node in nodes):
            assert time.monotonic() < deadline, "the nodes do not find each other"
            time.sleep(0.02)
        yield nodes


def _port_for_node() -> int:
    """A free port, above which by 10,000 there is another: nodes speak with each other on that one."""
    while True:
        port = free_port()
        if port <= 55_535:
            return port


def _is_whole(node: Redis, count: int) -> bool:
    with socket.create_connection(("127.0.0.1", node.port), timeout=5) as connection:
        connection.sendall(b"CLUSTER INFO\r\n")
        said = connection.recv(4096).decode()
    return "cluster_state:ok" in said and f"cluster_known_nodes:{count}" in said
