"""Server-sent events without I/O: bytes go in as they are read, the data of whole events comes out."""

from typing import Final

from open_webui.constants import MAX_PROVIDER_LINE

DONE: Final = b"[DONE]"
_BOM: Final = b"\xef\xbb\xbf"
# Text that is no event is kept up to this size: some providers end a stream with a plain JSON error.
_MAX_STRAY: Final = 64 * 1024


class SseReader:
    """An incremental reader of one event stream. However the bytes are split, the same data comes out.

    done: the terminator was seen; what follows it is ignored. too_long: a line was longer than the limit; nothing after
    it is read. stray: lines that looked like JSON outside any event. failed: what the provider sent as an error, by an
    event of that name or a field of its own; nothing after it is read.

    Data lines that are whole JSON objects each are events each, also without blank lines between them.
    """

    __slots__ = (
        "_after_cr",
        "_bytes",
        "_data",
        "_is_error",
        "_limit",
        "_open",
        "_open_bytes",
        "_started",
        "_stray_bytes",
        "done",
        "failed",
        "stray",
        "too_long",
    )

    def __init__(self, limit: int = MAX_PROVIDER_LINE) -> None:
        """`limit`: the most bytes that a line, and that an event's data, may have."""
        self.done = False
        self.too_long = False
        self.stray: list[bytes] = []
        self.failed: bytes | None = None
        self._is_error = False
        self._limit = limit
        self._stray_bytes = 0
        # The line that is not over yet, in pieces: a line of megabytes comes in many reads.
        self._open: list[bytes] = []
        self._open_bytes = 0
        # The data lines of the event that is not over yet.
        self._data: list[bytes] = []
        self._bytes = 0
        self._after_cr = False
        self._started = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more is read."""
        return self.done or self.too_long or self.failed is not None

    def feed(self, read: bytes) -> list[bytes]:
        """The data of the events that these bytes complete."""
        if self.is_over or not read:
            return []
        # What nearly every read of nearly every provider is: whole events of one data line each.
        if (
            read.startswith(b"data: ")
            and read.endswith(b"\n\n")
            and not self._open
            and not self._data
            and not self._after_cr
            and not self._is_error
            and b"\r" not in read
            and len(read) <= self._limit
        ):
            events = read[6:-2].split(b"\n\ndata: ")
            terminator = read.find(DONE)
            # No line ends but those of the events themselves; a terminator is the last of them.
            if read.count(b"\n") == 2 * len(events) and (
                terminator < 0 or (events[-1] == DONE and terminator == len(read) - len(DONE) - 2)
            ):
                self._started = True
                if terminator >= 0:
                    self.done = True
                    events.pop()
                return events
        return self._lines(read)

    def close(self) -> list[bytes]:
        """The data of an event that the end of the body left without its blank line."""
        out: list[bytes] = []
        if self.is_over:
            return out
        if self._open:
            line = b"".join(self._open)
            self._open, self._open_bytes = [], 0
            self._line(line, out)
        if not self.too_long:
            self._dispatch(out)
        return out

    def _lines(self, read: bytes) -> list[bytes]:
        if self._after_cr:
            self._after_cr = False
            if read.startswith(b"\n"):
                read = read[1:]
        if read.endswith(b"\r"):
            self._after_cr = True
        if b"\r" in read:
            read = read.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *rest = read.split(b"\n")
        if first:
            self._open.append(first)
            self._open_bytes += len(first)
        out: list[bytes] = []
        if rest:
            line = self._open[0] if len(self._open) == 1 else b"".join(self._open)
            last = rest.pop()
            self._open, self._open_bytes = ([last], len(last)) if last else ([], 0)
            self._line(line, out)
            for line in rest:
                if self.is_over:
                    return out
                self._line(line, out)
        self.too_long = self.too_long or (self._open_bytes > self._limit and not self.is_over)
        return out

    def _line(self, line: bytes, out: list[bytes]) -> None:
        if len(line) > self._limit:
            self.too_long = True
            return
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        if not line:
            self._dispatch(out)
        elif line.startswith(b"data:"):
            value = line[6:] if line.startswith(b"data: ") else line[5:]
            if self._data and _begins(value) and _is_object(self._data):
                self._dispatch(out)
            self._data.append(value)
            self._bytes += len(value) + 1
            self.too_long = self._bytes > self._limit + 1
        elif line.startswith(b"event:"):
            self._is_error = line[6:].strip() == b"error"
        elif line.startswith(b"error:"):
            self.failed = line[6:].strip()
        elif self.stray or line.lstrip().startswith(b"{"):
            # No field of the protocol: comments, `event:`, `id:` and `retry:` don't look like this.
            self._stray_bytes += len(line)
            if self._stray_bytes <= _MAX_STRAY:
                self.stray.append(line)

    def _dispatch(self, out: list[bytes]) -> None:
        is_error, self._is_error = self._is_error, False
        if not self._data:
            return
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data, self._bytes = [], 0
        if is_error:
            self.failed = data
        elif data.strip() == DONE:
            self.done = True
        else:
            out.append(data)


def _begins(line: bytes) -> bool:
    """Whether a line of data can be the first of an event."""
    return line.startswith((b"{", DONE))


def _is_object(lines: list[bytes]) -> bool:
    """Whether the lines so far look like all of a JSON object, written in one line."""
    return len(lines) == 1 and lines[0].startswith(b"{") and lines[0].rstrip().endswith(b"}")
