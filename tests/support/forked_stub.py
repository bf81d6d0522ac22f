"""Stands for a child process of the product that is a fork of another: `python -I -S forked_stub.py SOCKET MODULE`.

It gives what it was started with to the process that listens on the socket (tests/support/forked.py), and ends as that child
ends. Whoever ends it ends the child. It imports next to nothing: it is started hundreds of times.
"""

import os
import socket
import sys

_PATIENCE = 0.5


def main(path: str, module: str) -> None:
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as told:
        told.connect(path)
        folder = os.getcwd()  # noqa: PTH109 - pathlib takes as long to import as all else here
        message = "\0".join([module, folder, *(f"{name}={value}" for name, value in os.environ.items())]).encode()
        socket.send_fds(told, [len(message).to_bytes(4, "little") + message], [0, 1, 2])
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nothing, number)
        told.settimeout(_PATIENCE)
        while os.getppid() == parent:
            try:
                status = int(told.recv(16) or b"-9")
            except TimeoutError:
                continue
            if status >= 0:
                os._exit(status)
            os.kill(os.getpid(), -status)


if __name__ == "__main__":
    main(*sys.argv[1:])
