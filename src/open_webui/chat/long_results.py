"""Results of tools that are too long for a model at once: kept as files of the asker, and read by the model page by page."""

from collections.abc import Iterable
from typing import Any, Final, Protocol

from msgspec.structs import replace

from llamaforge.tools.step import shorten
from open_webui.errors import OuiError
from open_webui.internal.log import get_logger
from open_webui.tools.port import ToolResult
from open_webui.utils.addresses import address

log = get_logger(__name__)
# The tool that reads the rest (services/builtin/rows.py).
READER: Final = "read_tool_result"
_REST: Final = (
    "\n[This is the beginning of the result: {shown:,} of {length:,} characters. The rest is kept."
    ' Read on with {tool}(id="{id}", offset={shown}).]'
)
_IN_FILE: Final = (
    "\n[This is the beginning of the result: {shown:,} of {length:,} characters. The person has the whole as a file.]"
)


class Store(Protocol):
    """Where they are kept (chat.context.stage.PictureReader is one)."""

    async def keep_text(self, filename: str, text: str) -> str:
        """Makes a text a file of the person, and gives the file's id. Raises OSError, OuiError."""
        ...


class LongResults:
    """Keeps the long results of an answer. most: characters of a result that the model gets at once.

    is_stored: whether the chat is; of another one nothing is kept. can_read: whether the model can call the tool that reads on.
    """

    def __init__(self, store: Store | None, most: int, *, is_stored: bool, can_read: bool = False) -> None:
        self._store = store if is_stored else None
        self._most = most
        self._can_read = can_read
        # Whether a result was kept.
        self.kept = False

    async def __call__(self, name: str, result: ToolResult) -> ToolResult:
        """A result as the model gets it: whole, or its beginning and where the rest is."""
        text = result.text
        if len(text) <= self._most:
            return result
        file_id, file_name = None, f"{name[:60]}.txt"
        if self._store is not None:
            try:
                file_id = await self._store.keep_text(file_name, text)
            except (OuiError, OSError) as error:
                log.warning("a long result of a tool could not be kept", tool=name, reason=str(error))
        if file_id is None:
            return replace(result, text=shorten(text, self._most))
        self.kept = True
        said = _REST if self._can_read else _IN_FILE
        note = said.format(shown=self._most, length=len(text), tool=READER, id=file_id)
        entry = {
            "type": "file",
            "id": file_id,
            "name": file_name,
            "url": address(file_id),
            "content_type": "text/plain",
        }
        return replace(result, text=text[: self._most] + note, files=(*result.files, entry))


def mentions(messages: Iterable[dict[str, Any]]) -> bool:
    """Whether a conversation holds results whose rest can be read."""
    mark = f"Read on with {READER}("
    return any(m.get("role") == "tool" and mark in str(m.get("content")) for m in messages)
