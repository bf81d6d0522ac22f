"""A multipart form, part by part as it arrives: a file in it goes by and is never held in memory."""

from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from open_webui.errors import BadRequest, TooLarge

# Of one form: parts, and bytes of all their headers.
MAX_PARTS: Final = 20
_BAD: Final = "The form that was sent can't be read: {}."


class Part(msgspec.Struct, frozen=True):
    """The beginning of a part. filename: as the client names it; None for a plain field."""

    name: str
    filename: str | None
    content_type: str


class Form:
    """Reads a form: `async for part in form`, and of each part its bytes by `form.content()` before the next one.

    Raises BadRequest, anywhere, for what is no form or ends in its middle.
    """

    def __init__(self, content_type: str, pieces: AsyncIterator[bytes], *, max_parts: int = MAX_PARTS) -> None:
        """content_type: the request's header. pieces: its body."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise BadRequest("Send a form of the type multipart/form-data with the file in it.")
        self._pieces = pieces
        # What has been parsed and not been asked for: the beginning of a part, bytes of it, or None for its end.
        self._parsed: deque[Part | bytes | None] = deque()
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._parts = 0
        self._max_parts = max_parts
        self._is_over = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._data,
                    "on_part_end": lambda: self._parsed.append(None),
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise BadRequest(_BAD.format(error)) from None

    def __aiter__(self) -> "Form":
        return self

    async def __anext__(self) -> Part:
        while (found := await self._next()) is not _OVER:
            if isinstance(found, Part):
                return found
        raise StopAsyncIteration

    async def content(self) -> AsyncIterator[bytes]:
        """The bytes of the part that was just given."""
        while (found := await self._next()) is not None:
            assert isinstance(found, bytes), "a part ends before the next begins"
            yield found

    async def text(self, bound: int) -> str:
        """A field's text. Raises TooLarge for one of more bytes."""
        data = b""
        async for piece in self.content():
            data += piece
            if len(data) > bound:
                raise TooLarge(f"A field of the form is longer than {bound // 1024} KB.")
        return data.decode(errors="replace")

    async def _next(self) -> Part | bytes | None:
        while not self._parsed:
            if self._is_over:
                return _OVER
            piece = await anext(self._pieces, None)
            if piece is None:
                raise BadRequest(_BAD.format("it ends in the middle"))
            try:
                self._parser.write(piece)
            except FormParserError as error:
                raise BadRequest(_BAD.format(error)) from None
        return self._parsed.popleft()

    # What the parser tells

    def _begin(self) -> None:
        self._headers = {}
        self._parts += 1
        if self._parts > self._max_parts:
            raise BadRequest(f"A form may have at most {self._max_parts} parts.")

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b"").decode("latin-1"))
        filename = options.get(b"filename")
        self._parsed.append(
            Part(
                name=options.get(b"name", b"").decode(errors="replace"),
                # Browsers write it in UTF-8 and escape quotes and line ends, as addresses do.
                filename=None if filename is None else _unescaped(filename.decode(errors="replace")),
                content_type=self._headers.get(b"content-type", b"").decode("latin-1"),
            )
        )

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._parsed.append(data[start:end])

    def _end(self) -> None:
        self._is_over = True


_OVER: Final = b""


def _unescaped(name: str) -> str:
    return name.replace("%22", '"').replace("%0D", "").replace("%0A", "")
