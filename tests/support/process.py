"""Child processes that never outlive the tests, and free ports for them."""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1


# Below those that the system gives to whoever asks for any port (from 32,768 on), so that none of them is taken between the
# moment in which it is found and that in which a process listens on it. A Redis of a cluster takes the one 10,000 above, too.
_PORTS = range(11_000, 21_000)
_used: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no other test of this run is given."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    mine = _PORTS[number % workers :: workers]
    # Other runs on this machine begin elsewhere.
    start = os.getpid() * 7
    for step in range(len(mine)):
        port = mine[(start + step) % len(mine)]
        if port not in _used and _is_free(port):
            _used.add(port)
            return port
    raise RuntimeError(f"No port from {_PORTS.start} to {_PORTS.stop} is free.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: what a former process' connections left behind is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def die_with_parent() -> None:
    """For `preexec_fn`: on Linux the kernel kills the child when the test process is gone, however that came about.

    SIGHUP means to it what it means in a shell, also where the tests run under `nohup`.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment with nothing of the developer's own settings in it, and the sources importable."""
    keep = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in keep if name in os.environ}
    return environment | {"PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"} | dict(extra or {})
