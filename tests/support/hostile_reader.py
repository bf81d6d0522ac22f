"""A process that reads files, and does to itself what hostile files do to one: named in the file."""

import os
import signal
import time
from pathlib import Path

import msgspec

from open_webui.internal.child.serve import serve
from open_webui.retrieval.parsing import reader
from open_webui.retrieval.parsing.call import Call


def read(request: bytes) -> bytes:
    call = msgspec.structs.replace(msgspec.msgpack.decode(request, type=Call), memory=1 << 29, cpu_seconds=1)
    request = msgspec.msgpack.encode(call)
    with (Path(call.folder) / "content").open("rb") as file:
        deed = file.read(40).partition(b"!")[0].decode(errors="replace")
    reader._limit(call)
    match deed.split():
        case ["abort"]:
            os.abort()
        case ["segfault"]:
            os.kill(os.getpid(), signal.SIGSEGV)
        case ["memory"]:
            bytearray(1 << 30)
        case ["grow"]:
            kept = []
            while True:
                kept.append("x" * 1_000_000)
        case ["spin"]:
            while True:
                pass
        case ["sleep"]:
            (Path(call.folder) / "asleep").touch()
            time.sleep(600)
        case ["write"]:
            reader._UNZIPPED = 1_000_000
            reader._limit(call)
            with (Path(call.folder) / "more").open("wb") as file:
                file.writelines(b"x" * 1_000 for _ in range(10_000))
        case ["pid"]:
            return msgspec.msgpack.encode(reader.Parsed(str(os.getpid())))
        case ["environment"]:
            return msgspec.msgpack.encode(reader.Parsed(" ".join(os.environ)))
    return reader.read(request)


if __name__ == "__main__":
    serve(read, (reader.Refused,))
