"""A child process for tests: it answers with what it is told, sleeps, refuses or dies."""

import os
import sys
import time

from open_webui.internal.child.serve import serve


class No(Exception):
    pass


def answer(request: bytes) -> bytes:
    word, _, rest = request.decode().partition(" ")
    match word:
        case "sleep":
            time.sleep(float(rest))
        case "die":
            sys.stderr.write(rest)
            os.abort()
        case "refuse":
            raise No(rest)
        case "print":
            sys.stdout.write(rest)
        case "environment":
            return "\n".join(sorted(os.environ)).encode()
        case "pid":
            return str(os.getpid()).encode()
    return rest.encode()


serve(answer, (No,))
