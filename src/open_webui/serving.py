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
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from open_webui import supervisor
from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal import log
from open_webui.internal.bounded_http import BoundedHttp, proxies, raise_file_limit
from open_webui.internal.lean_imports import lean
from open_webui.internal.trimming import share_arenas

_log = log.get_logger(__name__)
# How long open requests may take to end after a stop signal; running answers are journalled and marked, not waited for.
GRACE_SECONDS = 5
# How long a worker that is replaced answers what comes over connections that are open.
LAST_REQUESTS_SECONDS = 1.0


def run(settings: Settings, *, reload: bool = False) -> None:
    """Serves until a signal. Raises StartupError when the server can't start."""
    _set_up(settings)
    listener = _listen(settings)
    if reload:
        _run_reloading(settings, listener)
    else:
        _run_on(settings, listener, None)


def run_worker(settings: Settings, listener: socket.socket, control: socket.socket) -> None:
    """The same on a socket that listens already, as a supervisor's worker. control: the pipe to that."""
    _set_up(settings)
    _run_on(settings, listener, control)


def run_workers(settings: Settings, environment: dict[str, str], *, reload: bool) -> NoReturn:
    """Becomes the supervisor of workers that start with this environment. Raises StartupError for what can't be."""
    count = settings.uvicorn_workers
    if reload:
        raise StartupError(
            f"--reload serves with one process, and {count} are asked for by --workers or UVICORN_WORKERS. Leave out the one"
            " or the other."
        )
    if sys.platform == "win32":
        raise StartupError("On Windows one process serves. Leave out --workers and UVICORN_WORKERS.")
    if not settings.database_url or settings.database_url.lower().startswith("sqlite"):
        raise StartupError(
            f"A SQLite database serves one process, and {count} are asked for by --workers or UVICORN_WORKERS. Name a PostgreSQL"
            " database in DATABASE_URL, or serve with one."
        )
    if not settings.enable_websocket_support:
        raise StartupError(
            "Sockets by long polling need one process, which ENABLE_WEBSOCKET_SUPPORT=false asks for beside"
            f" {count} workers. Leave out the one or the other."
        )
    log.set_up(settings)
    _check_proxies(settings.forwarded_allow_ips)
    listener = _listen(settings)
    plan = supervisor.Plan(
        listener=listener.fileno(),
        workers=count,
        global_log_level=settings.global_log_level,
        main_log_level=settings.main_log_level,
        log_levels=settings.log_levels,
        log_format=settings.log_format,
        log_to_file=settings.log_to_file,
        log_dir=str(settings.log_dir),
    )
    supervisor.become(plan, environment)


def _set_up(settings: Settings) -> None:
    """What a process does before it imports the application."""
    share_arenas()
    log.set_up(settings)
    _check_proxies(settings.forwarded_allow_ips)
    raise_file_limit(settings.max_connections_per_address)
    with lean():
        from open_webui.internal.private import make_private
    make_private(settings)


def _run_reloading(settings: Settings, listener: socket.socket) -> None:
    # What can't listen has failed by now, in one sentence; the process that serves is another.
    supervisor.say_where(listener)
    port = listener.getsockname()[1]
    listener.close()
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


def _run_on(settings: Settings, listener: socket.socket, control: socket.socket | None) -> None:
    # Imported after the port is ours: what can't listen fails at once.
    with lean():
        from open_webui.main import create_app
        from open_webui.socket.frames import FrameProtocol
        from open_webui.socket.incoming import MAX_NOTE_PACKET

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
            # What one socket may send is less, and said by `Sockets`.
            ws_max_size=max(settings.websocket_max_message_kb * 1024, MAX_NOTE_PACKET),
            ws_per_message_deflate=False,
            # BoundedHttp does what uvicorn would, and counts connections by it.
            proxy_headers=False,
            forwarded_allow_ips=settings.forwarded_allow_ips,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=65,
            server_header=False,
            date_header=False,
        ),
        control,
    )
    with listener, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(server, app, listener))


class _Server(uvicorn.Server):
    """Leaves signals to `_serve`: uvicorn would raise them again before the lifespan has closed.

    control: the pipe to the supervisor, where there is one.
    """

    def __init__(self, config: uvicorn.Config, control: socket.socket | None) -> None:
        super().__init__(config)
        self.control = control
        self._drains = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def heed(self) -> None:
        """Ends when the supervisor says so, or is gone."""
        assert self.control is not None
        said = self.control.recv(16)
        self._drains = self._drains or supervisor.DRAIN in said
        if not said:
            asyncio.get_running_loop().remove_reader(self.control)
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.control is not None:
            # The supervisor may be gone: `heed` hears of that, too.
            with contextlib.suppress(OSError):
                self.control.send(supervisor.READY)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._drains:
            # Others go on to accept. Clients that use a connection meanwhile are told to leave it, instead of losing it
            # at the moment in which they use it again.
            for listening in self.servers:
                listening.close()
            self.server_state.default_headers.append((b"connection", b"close"))
            await asyncio.sleep(LAST_REQUESTS_SECONDS)
        await super().shutdown(sockets)


async def _serve(server: _Server, app: FastAPI, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    async with app.router.lifespan_context(app):
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, server.handle_exit, number, None)
            except NotImplementedError:  # Windows
                signal.signal(number, server.handle_exit)
        # What is there now stays: a full collection, which stops the loop, takes half as long without it.
        gc.freeze()
        if server.control is not None:
            loop.add_reader(server.control, server.heed)
        else:
            _mind_hangups(server, loop)
            supervisor.say_where(listener)
        await server.serve(sockets=[listener])


def _mind_hangups(server: uvicorn.Server, loop: asyncio.AbstractEventLoop) -> None:
    """SIGHUP has a supervisor replace its workers. A process that serves alone goes on, and ends with its terminal only."""
    if sys.platform == "win32" or signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return
    is_hung_up = supervisor.hang_up_watch()

    def heed() -> None:
        if is_hung_up():
            server.handle_exit(signal.SIGHUP, None)
        else:
            _log.warning("SIGHUP replaces workers, and one process serves here: restart it instead")

    loop.add_signal_handler(signal.SIGHUP, heed)


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
