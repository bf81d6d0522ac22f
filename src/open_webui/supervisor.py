"""Keeps several worker processes serving on one listening socket. `serve --workers N` turns itself into this program.

It holds the socket, so that the port never refuses while a worker is replaced, and imports nothing of the server: workers
are started anew, not forked, and so bring the code and the settings of their day.
"""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NoReturn

import msgspec

from open_webui.internal import log

_log = log.get_logger(__name__)
# What goes over the pipe between a worker and its supervisor, whose end tells each that the other is gone.
READY: Final = b"r"
DRAIN: Final = b"d"
# A worker that ends is started again at once; if it ends again soon, after these seconds, twice as many each time.
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
# One that ran for so many seconds is taken for well again.
WELL: Final = 60.0
# A worker that was told to end is killed after so many seconds: all together, or one by one when they are replaced.
STOP_SECONDS: Final = 25.0


class Plan(msgspec.Struct, frozen=True):
    """What the supervisor is started with. listener: the descriptor of the listening socket. The rest: see env.Settings."""

    listener: int
    workers: int
    global_log_level: str
    main_log_level: str
    log_levels: str
    log_format: str
    log_to_file: bool
    log_dir: str


def become(plan: Plan, environment: dict[str, str]) -> NoReturn:
    """Turns this process into the supervisor, which is some 20 MB smaller than what has read the settings.

    environment: what the workers start with.
    """
    os.set_inheritable(plan.listener, True)
    sys.stderr.flush()
    os.execve(  # noqa: S606 - it is this program
        sys.executable, [sys.executable, "-m", __name__, msgspec.json.encode(plan).decode()], environment
    )


def say_where(listener: socket.socket) -> None:
    """Tells whoever started the server where it listens."""
    host, port = listener.getsockname()[:2]
    print(f"oui-backend listens on http://{f'[{host}]' if ':' in host else host}:{port}", file=sys.stderr, flush=True)


def hang_up_watch() -> Callable[[], bool]:
    """A question for the handler of SIGHUP: whether it comes because the terminal, which there is now, was closed."""
    had_terminal = _has_terminal()
    return lambda: had_terminal and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


class Worker:
    """A process that serves, or will. kill_at: when it is killed, if it was told to end."""

    def __init__(self, number: int, listener: socket.socket) -> None:
        self.number = number
        self.ready = False
        self.since = time.monotonic()
        self.kill_at: float | None = None
        self.control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - it is this program
                [sys.executable, "-m", "open_webui.worker", str(listener.fileno()), str(theirs.fileno()), str(number)],
                pass_fds=(listener.fileno(), theirs.fileno()),
            )

    def drain(self) -> None:
        """Has it accept nothing more, end what it has begun, and go."""
        self._end_soon()
        with contextlib.suppress(OSError):
            self.control.send(DRAIN)

    def terminate(self) -> None:
        self._end_soon()
        self.process.terminate()

    def _end_soon(self) -> None:
        self.kill_at = time.monotonic() + STOP_SECONDS


class Place:
    """Where one worker at a time serves. successor: what will, once it is ready. start_at: when one is to be started."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.successor: Worker | None = None
        self.start_at: float | None = None
        self.failures = 0


class Supervisor:
    """Runs until it is told to stop, or the first worker can't start."""

    def __init__(self, workers: int, listener: socket.socket) -> None:
        self._listener = listener
        self._places = [Place() for _ in range(workers)]
        # All processes that live, also those that are leaving.
        self._workers: list[Worker] = []
        # Numbers of the workers that are still to be replaced, and the one that is leaving for its successor.
        self._to_replace: deque[int] = deque()
        self._leaving: Worker | None = None
        self._served = False
        self._status: int | None = None
        self._selector = selectors.DefaultSelector()
        self._is_hung_up = hang_up_watch()

    def run(self) -> int:
        """Serves, and returns the exit status."""
        told, tells = socket.socketpair()
        told.setblocking(False)
        tells.setblocking(False)
        signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(told, selectors.EVENT_READ)
        # It migrates the database, and what it can't start with is said by it alone.
        self._start(1)
        while (status := self._status) is None or self._workers:
            for key, _ in self._selector.select(self._patience()):
                if key.data is None:
                    self._heed(told.recv(64))
                else:
                    self._hear(key.data)
            self._reap()
            self._keep_time()
        return status

    def _patience(self) -> float | None:
        """Seconds until something is to be done even though nothing happens."""
        due = [place.start_at for place in self._places] + [worker.kill_at for worker in self._workers]
        return min((max(0.0, at - time.monotonic()) for at in due if at is not None), default=None)

    def _heed(self, signals: bytes) -> None:
        for number in signals:
            if number in {signal.SIGTERM, signal.SIGINT} or (number == signal.SIGHUP and self._is_hung_up()):
                self._stop(0)
            elif number == signal.SIGHUP and self._status is None:
                _log.info("the workers are replaced, one after the other")
                self._to_replace = deque(range(1, len(self._places) + 1))
                self._replace_next()

    def _stop(self, status: int) -> None:
        if self._status is not None:
            return
        self._status = status
        self._listener.close()
        for place in self._places:
            place.start_at = None
        for worker in self._workers:
            worker.terminate()

    def _start(self, number: int) -> Worker | None:
        """A new worker, or None, with a line in the log, if the system lets none be started."""
        try:
            worker = Worker(number, self._listener)
        except OSError as error:
            _log.error("a worker can't be started", worker=number, why=error.strerror)
            self._plan_restart(number)
            return None
        self._workers.append(worker)
        self._selector.register(worker.control, selectors.EVENT_READ, worker)
        place = self._places[number - 1]
        if place.worker is None:
            place.worker, place.start_at = worker, None
        else:
            place.successor = worker
        return worker

    def _hear(self, worker: Worker) -> None:
        try:
            said = worker.control.recv(16)
        except OSError:
            said = b""
        if not said:
            # It is about to end; `_reap` sees when.
            self._selector.unregister(worker.control)
        elif READY in said and self._status is None:
            self._is_ready(worker)

    def _is_ready(self, worker: Worker) -> None:
        worker.ready = True
        _log.info("a worker is ready", worker=worker.number, pid=worker.process.pid)
        place = self._places[worker.number - 1]
        if worker is place.successor:
            self._leaving, place.worker, place.successor = place.worker, worker, None
            if self._leaving is not None:
                self._leaving.drain()
            place.failures = 0
        if not self._served:
            self._served = True
            say_where(self._listener)
            for number in range(2, len(self._places) + 1):
                self._start(number)
        self._replace_next()

    def _replace_next(self) -> None:
        """Begins with the next worker that is to be replaced, unless one is being replaced or none serves yet."""
        if not self._served or self._leaving is not None or any(place.successor for place in self._places):
            return
        while self._to_replace:
            number = self._to_replace.popleft()
            # One that is not running will be new anyway.
            if self._places[number - 1].worker is not None:
                self._start(number)
                return

    def _reap(self) -> None:
        for worker in [w for w in self._workers if w.process.poll() is not None]:
            self._workers.remove(worker)
            with contextlib.suppress(KeyError):
                self._selector.unregister(worker.control)
            worker.control.close()
            if self._status is None:
                self._has_ended(worker, worker.process.returncode)

    def _has_ended(self, worker: Worker, status: int) -> None:
        place = self._places[worker.number - 1]
        about: dict[str, Any] = {"worker": worker.number, "pid": worker.process.pid, "status": status}
        if worker is self._leaving:
            self._leaving = None
            self._replace_next()
        elif worker is place.successor:
            place.successor = None
            self._to_replace.clear()
            _log.error("a new worker ended before it was ready; those that are there go on", **about)
            if place.worker is None:
                self._plan_restart(worker.number)
        elif not self._served:
            # It has said why, unless it was killed.
            if status < 0:
                _log.error("the first worker was killed before it was ready", **about)
            self._stop(status if status > 0 else 1)
        else:
            place.worker = None
            if time.monotonic() - worker.since > WELL:
                place.failures = 0
            again_in = 0.0 if place.successor else self._plan_restart(worker.number)
            _log.error("a worker ended and is started again", **about, again_in=again_in)

    def _plan_restart(self, number: int) -> float:
        """Returns in how many seconds it is."""
        place = self._places[number - 1]
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (place.failures - 1)) if place.failures else 0.0
        place.failures = min(place.failures + 1, 16)
        place.start_at = time.monotonic() + pause
        return pause

    def _keep_time(self) -> None:
        now = time.monotonic()
        for number, place in enumerate(self._places, 1):
            if place.start_at is not None and place.start_at <= now:
                place.start_at = None
                self._start(number)
        for worker in self._workers:
            if worker.kill_at is not None and worker.kill_at <= now:
                _log.error("a worker did not end in time and is killed", worker=worker.number, pid=worker.process.pid)
                worker.kill_at = None
                worker.process.kill()


def main() -> int:
    """The exit status."""
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    log.set_up(plan)
    with socket.socket(fileno=plan.listener) as listener:
        os.set_inheritable(plan.listener, False)
        return Supervisor(plan.workers, listener).run()


if __name__ == "__main__":
    sys.exit(main())
