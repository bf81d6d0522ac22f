"""What tools tell while they run for an MCP client, and what they leave beside their result."""

from collections.abc import Callable
from typing import Any, Final

from open_webui.errors import BadRequest, Unavailable
from open_webui.services import message_events

NO_PAGE: Final = "This tool asks the person at a page of this server, and an MCP client is none."
# Steps that are told of one call, characters of one, and of text that a tool adds by events.
_MOST_STEPS: Final = 200
_STEP: Final = 500
_MOST_TEXT: Final = 200_000
_MOST_FILES: Final = 20


class CallProgress:
    """`tools.port.Progress` of one call. tell: is given each step, where the client wants to hear of them."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self.metadata: dict[str, Any] = {}
        self.text = ""
        self.files: list[dict[str, Any]] = []
        self.embeds: list[str] = []
        self._tell = tell
        self._steps = 0
        # Sources in the order of their numbers.
        self._sources: list[str] = []

    async def add_status(self, status: dict[str, Any]) -> None:
        self._step(status.get("description"))

    async def add_source(self, source: dict[str, Any]) -> list[int]:
        about, passages = source.get("source"), source.get("document")
        named = about if isinstance(about, dict) else {}
        name = str(named.get("id") or named.get("name") or "")
        if name not in self._sources:
            self._sources.append(name)
        count = len(passages) if isinstance(passages, list) else 1
        return [self._sources.index(name) + 1] * count

    async def emit(self, kind: str, data: dict[str, Any]) -> None:
        if kind not in message_events.KINDS:
            raise BadRequest(f"There are no events of the type '{kind[:100]}' for an answer.")
        message_events.check(kind, data)
        match kind:
            case "status":
                await self.add_status(data)
            case "notification":
                self._step(data.get("content"))
            case "message" | "chat:message:delta":
                self.text = (self.text + _text(data))[:_MOST_TEXT]
            case "replace" | "chat:message":
                self.text = _text(data)[:_MOST_TEXT]
            case "files" | "chat:message:files":
                self.files = [*self.files, *data.get("files", ())][:_MOST_FILES]
            case "embeds":
                self.embeds = [*self.embeds, *data.get("embeds", ())][:_MOST_FILES]

    async def ask(self, kind: str, data: dict[str, Any], *, seconds: float) -> Any:
        del kind, data, seconds
        raise Unavailable(NO_PAGE)

    def _step(self, text: Any) -> None:
        if self._tell is not None and isinstance(text, str) and self._steps < _MOST_STEPS:
            self._steps += 1
            self._tell(text[:_STEP])


def _text(data: dict[str, Any]) -> str:
    text = data.get("content")
    if not isinstance(text, str):
        raise BadRequest("The event has no text in `content`.")
    return text
