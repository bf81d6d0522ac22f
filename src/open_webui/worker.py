"""`python -m open_webui.worker LISTENER CONTROL NUMBER`: one of the processes that serve on a supervisor's listening socket.

LISTENER and CONTROL are descriptors: of the socket, and of the pipe to the supervisor (see supervisor.py).
"""

import os
import signal
import socket
import sys

from open_webui.env import load
from open_webui.errors import StartupError
from open_webui.internal import log
from open_webui.internal.lean_imports import lean

with lean():
    from open_webui.serving import run_worker


def main() -> int:
    """The exit status."""
    # It is the supervisor that a hangup is meant for.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    listener, control, number = map(int, sys.argv[1:4])
    log.worker_number = number
    # Children of this process must not keep the port, nor hold up the news that it is gone.
    for descriptor in (listener, control):
        os.set_inheritable(descriptor, False)
    try:
        run_worker(load(), socket.socket(fileno=listener), socket.socket(fileno=control))
    except StartupError as error:
        print(f"oui-backend: {error.detail}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        # Ctrl-C during the start, which the supervisor has heard, too.
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
