"""Frames between the server and a worker: four bytes of length (little-endian) and so many bytes of a JSON object, both ways.

Server to worker, each with the `id` that its answer has:
- `load`: id, kind, content, valves, path (folders of the plugin's environment). Answer: what the plugin is (`describe`).
- `call`: method, arguments, context, and `valves` where they changed; `mode` is "value", "stream" or "batch".
- `cancel`: ends the call `id`. `credit`: `n` more chunks of the stream `id` may come.
- `answer`: to the ask `id`, with `value` or `error`.

Worker to server:
- `ready`: once, with what could not be enforced as `limits`; `own_space`: whether the system bounds the scratch folder.
- `result`: `value`. `error`: `error` is a sentence, `kind` the class of what was raised, `trace` the end of its traceback.
- `chunk`: `value`, of the stream `id`; its `result` ends it.
- `ask`: `ask` is its number, `id` the call that it is made for, `name`, `arguments`.
"""

import json
import struct
from collections.abc import Iterator
from typing import Any, Final

LENGTH: Final = struct.Struct("<I")
# Bytes of one frame.
MAX_FRAME: Final = 16 * 2**20
# Chunks of a stream that may be on their way.
CREDIT: Final = 64
# The first of a worker's own files: the frames, then its log, then the way to ask for connections.
CONTROL: Final = 3
# Bytes of one message between the server and the zygote.
MAX_MESSAGE: Final = 64 * 1024


class ProtocolError(Exception):
    """What came is no frame."""


def pack(frame: dict[str, Any]) -> bytes:
    """A frame as it goes over the pipe. Raises TypeError, ValueError for what is no JSON."""
    data = json.dumps(frame, separators=(",", ":"), ensure_ascii=False, allow_nan=True).encode("utf-8", "replace")
    return LENGTH.pack(len(data)) + data


class Frames:
    """Puts frames together of bytes as they come."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The frames that are whole by now. Raises ProtocolError."""
        self._data += data
        start = 0
        try:
            while len(self._data) - start >= LENGTH.size:
                (size,) = LENGTH.unpack_from(self._data, start)
                if size > MAX_FRAME:
                    raise ProtocolError(f"a frame of {size:,} bytes")
                end = start + LENGTH.size + size
                if len(self._data) < end:
                    break
                body = bytes(self._data[start + LENGTH.size : end])
                start = end
                yield _parsed(body)
        finally:
            del self._data[:start]


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        frame = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a frame that is no JSON") from error
    if not isinstance(frame, dict):
        raise ProtocolError("a frame that is no object")
    return frame
