"""Runs the application under uvicorn, with start-up problems told in one sentence and a shutdown that loses nothing."""

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal import log
from open_webui.internal.bounded_http import BoundedHttp, proxies, raise_file_limit
from open_webui.internal.lean_imports import sqlalchemy_without_orm, without

_log = log.get_logger(__name__)
# How long open requests may take to end after a stop signal; running answers are journalled and marked, not waited for.
GRACE_SECONDS = 5


def run(settings: Settings, *, reload: bool = False) -> None:
    """Serves until a signal. Raises StartupError when the server can't start."""
    log.set_up(settings)
    _check_proxies(settings.forwarded_allow_ips)
    raise_file_limit(settings.max_connections_per_address)
    # Before anything brings SQLAlchemy.
    sqlalchemy_without_orm()
    from open_webui.internal.private import make_private

    make_private(settings)
    if reload:
        # What can't listen fails here, in one sentence; the process that serves is another.
        with _listen(settings) as listener:
            host, port = listener.getsockname()[:2]
        _say_where(host, port)
        uvicorn.run(
            "open_webui.main:create_app",
            factory=True,
            reload=True,
            # Not the working directory: .venv lies in it, and looking through that takes a core.
            reload_dirs=[str(Path(__file__).parents[1])],
            host=settings.host,
            port=port,
            log_config=None,
            http="open_webui.internal.bounded_http:BoundedHttp",
            ws="open_webui.socket.frames:FrameProtocol",
            proxy_headers=False,
            forwarded_allow_ips=settings.forwarded_allow_ips,
        )
        return
    listener = _listen(settings)
    # Imported after the port is ours: what can't listen fails at once.
    with without("requests"):
        from open_webui.main import create_app
        from open_webui.socket.frames import FrameProtocol

    app = create_app(settings)
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            # The lifespan is opened here instead (see _serve): its StartupError is a sentence for a person, not a traceback.
            lifespan="off",
            http=BoundedHttp,
            loop="none",
            ws=FrameProtocol,
            ws_max_size=settings.websocket_max_message_kb * 1024,
            ws_per_message_deflate=False,
            # BoundedHttp does what uvicorn would, and counts connections by it.
            proxy_headers=False,
            forwarded_allow_ips=settings.forwarded_allow_ips,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=65,
            server_header=False,
            date_header=False,
        )
    )
    with listener, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(server, app, listener))


class _Server(uvicorn.Server):
    """Leaves signals to `_serve`: uvicorn would raise them again before the lifespan has closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(server: uvicorn.Server, app: FastAPI, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    async with app.router.lifespan_context(app):
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, server.handle_exit, number, None)
            except NotImplementedError:  # Windows
                signal.signal(number, server.handle_exit)
        # What is there now stays: a full collection, which stops the loop, takes half as long without it.
        gc.freeze()
        host, port = listener.getsockname()[:2]
        _say_where(host, port)
        await server.serve(sockets=[listener])


def _check_proxies(listed: str) -> None:
    try:
        everybody = proxies(listed).everybody
    except ValueError as error:
        raise StartupError(
            f"The configuration can't be used. FORWARDED_ALLOW_IPS: {error}. Name the addresses or networks of your proxies, "
            "separated by commas."
        ) from None
    if everybody:
        _log.warning("FORWARDED_ALLOW_IPS=* believes whoever connects: let nobody reach this port but your proxy")


def _say_where(host: str, port: int) -> None:
    print(f"oui-backend listens on http://{f'[{host}]' if ':' in host else host}:{port}", file=sys.stderr, flush=True)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def _cant_listen(settings: Settings, error: OSError) -> str:
    """One sentence with the way out: by another port where that one is the trouble, else by another host."""
    if error.errno == errno.EADDRINUSE:
        advice = "Stop what uses the port, or set another with PORT."
    elif error.errno in {errno.EACCES, errno.EPERM}:
        advice = "Ports below 1024 are the system's; set another with PORT."
    else:
        advice = (
            "HOST must be an address of this machine: 127.0.0.1 for this machine alone, 0.0.0.0 for all its networks."
        )
    return f"Can't listen on {settings.host}:{settings.port} ({error.strerror or error}). {advice}"


def _listen(settings: Settings) -> socket.socket:
    """A listening socket. Raises StartupError when the address is taken or isn't ours."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise StartupError(_cant_listen(settings, error)) from None
    listener.setblocking(False)
    return listener
