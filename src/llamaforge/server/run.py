"""The application under uvicorn: an address that is safe to listen on, and an end that lets answers finish."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware

from llamaforge.exceptions import ConfigError
from llamaforge.server.app import create_api_server
from llamaforge.server.catalog import Forge

HOST = "127.0.0.1"
PORT = 8000
DRAIN_SECONDS = 30
log = logging.getLogger(__name__)


class ApiServer:
    """A server that blocks (`run`) or works in a thread of its own (`start`, `stop`, or a `with` block).

    It listens from the constructor on. On SIGTERM, SIGINT or `stop` it takes no more connections, lets running answers end,
    at most `drain_seconds` long, and ends the models' processes.
    """

    def __init__(
        self,
        forge: Forge | None = None,
        host: str | None = None,
        port: int | None = None,
        *,
        api_key: str | None = None,
        allow_public: bool = False,
        drain_seconds: int = DRAIN_SECONDS,
        **options: Any,
    ) -> None:
        """host, port: 127.0.0.1 and 8000 unless the configuration says otherwise; port 0 takes a free one. options: see
        `create_api_server`.

        Raises ConfigError when the address can't be had, or when others could reach it without an `api_key` and
        `allow_public` does not say that they may.
        """
        settings = {} if forge is None else forge.config.get("server", {})
        host = settings.get("host", HOST) if host is None else host
        port = settings.get("port", PORT) if port is None else port
        local = is_loopback(host)
        if not local and not api_key and not allow_public:
            raise ConfigError(
                f"Everybody who reaches {host} could use the models. Set an API key, listen on {HOST}, "
                "or say that the server may be public."
            )
        options.setdefault("enable_cors", bool(settings.get("enable_cors", False)))
        app = create_api_server(forge, api_key=api_key, **options)
        if local and not api_key:
            # Keeps out pages whose name was pointed at this machine after the browser had let them in.
            app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", host])
        self._app = app
        self._listener = _listen(host, port)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="on",
            http="httptools",
            loop="none",
            ws="none",
            timeout_graceful_shutdown=drain_seconds,
            server_header=False,
            date_header=False,
        )
        self._server = _Server(config)
        self._thread: threading.Thread | None = None
        self._started = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens, such as "http://127.0.0.1:8000"."""
        host, port = self._listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self) -> None:
        """Serve until a signal (in the main thread) or `stop` (from another)."""
        with self._listener, asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._serve())

    def start(self) -> Self:
        """Serve in a thread, and return as soon as requests are taken."""
        self._thread = threading.Thread(target=self.run, name="llamaforge serve", daemon=True)
        self._thread.start()
        while not self._started.wait(0.05):
            if not self._thread.is_alive():
                raise ConfigError("The server could not be started; the log says why.")
        return self

    def stop(self) -> None:
        """End as on a signal; of one that was started, wait for the end."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    async def _serve(self) -> None:
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                try:
                    loop.add_signal_handler(number, self._server.handle_exit, number, None)
                except NotImplementedError:  # Windows
                    signal.signal(number, self._server.handle_exit)
        # What is there now stays: a full collection, which stops the loop, takes half as long without it.
        gc.freeze()
        log.info("Serving on %s", self.url)
        asyncio.get_running_loop().call_soon(self._started.set)
        await self._server.serve(sockets=[self._listener])


def run_server(forge: Forge | None = None, host: str | None = None, port: int | None = None, **options: Any) -> None:
    """Serve until SIGTERM or SIGINT. The arguments are those of ApiServer."""
    ApiServer(forge, host, port, **options).run()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    """Leaves signals to `ApiServer`: uvicorn would raise them again at the end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 -- not on every system

    return uvloop.new_event_loop


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError when the address is taken or isn't ours."""
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"Can't listen on {host}:{port} ({reason}). Stop what uses it, or choose another port."
        ) from None
    listener.setblocking(False)
    return listener
