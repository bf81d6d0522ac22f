"""Which calls of tools a person is asked about, and what they said of a tool for the whole chat."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

from open_webui.chat.context.stage import Services
from open_webui.chat.turn import Turn
from open_webui.errors import OuiError
from open_webui.internal.log import get_logger
from open_webui.models import chats
from open_webui.models.base import now
from open_webui.services.changes import change_chat
from open_webui.tools.port import Progress

log = get_logger(__name__)
Word = Literal["always", "never"]
# Where a chat's parameters have what was said of its tools, by their names.
KEY: Final = "tool_approvals"
MODE: Final = "tool_approval_mode"
# Seconds that a person has to allow a call.
SECONDS: Final = 300.0
REFUSED: Final = "The person did not allow this call. Don't make it again without asking for it."
NEVER: Final = "The person does not want '{}' to be called in this chat. Answer without it."
UNASKED: Final = "The call was not made, since the person could not be asked:"
# Tools of one chat, and the length of a name.
_MOST: Final = 500
_LONGEST: Final = 200

Remember = Callable[[str, Word], Awaitable[None]]


class Approval:
    """Whether the calls of one answer may run.

    ask: a person is asked before each call of a tool of which nothing was said. said: of tools, by name. remember: keeps
    what is said of one.
    """

    def __init__(
        self, *, ask: bool = False, said: Mapping[str, Word] | None = None, remember: Remember | None = None
    ) -> None:
        self._ask = ask
        self._said = dict(said or {})
        self._remember = remember

    @classmethod
    def of(cls, turn: Turn, services: Services) -> "Approval":
        """As the chat's parameters and those of the question say. In somebody else's chat its owner's leave is not one's own,
        but what the owner never wants is not done.
        """
        stored, own = words_of(turn.stored.params), words_of(turn.request.params)
        is_owner = turn.owner_id == turn.principal.id
        if not is_owner:
            stored = {name: word for name, word in stored.items() if word == "never"}

        async def remember(name: str, word: Word) -> None:
            # What is said within a sub-agent is said of the chat.
            whole = turn.part_of or turn
            if is_owner and not whole.is_temporary:
                await _store(whole, services, name, word)

        # A page sends what it knew when the chat was opened.
        return cls(ask=turn.params.get(MODE) == "ask", said=own | stored, remember=remember)

    async def refusal(self, call_id: str, name: str, arguments: dict[str, Any], progress: Progress) -> str | None:
        """Why a call is not run: the person said so, or nothing at all. None where it may."""
        word = self._said.get(name)
        if word == "never":
            return NEVER.format(name)
        if word == "always" or not self._ask:
            return None
        shown = {"id": call_id, "name": name, "arguments": arguments}
        question = {"title": "Run this tool?", "message": f"The model wants to call '{name}'.", "tool_call": shown}
        try:
            allowed = await progress.ask("confirmation", question, seconds=SECONDS)
        except OuiError as error:
            return f"{UNASKED} {error.detail}"
        if allowed in ("always", "never"):
            await self._note(name, allowed)
        if allowed == "never":
            return NEVER.format(name)
        return None if allowed is True or allowed in ("once", "always") else REFUSED

    async def _note(self, name: str, word: Word) -> None:
        self._said[name] = word
        if self._remember is None:
            return
        try:
            await self._remember(name, word)
        except OuiError as error:
            # It counts for this answer all the same.
            log.info("what was said of a tool could not be kept", tool=name, reason=error.detail)


def words_of(params: Mapping[str, Any]) -> dict[str, Word]:
    """What a chat's parameters say of its tools."""
    given = params.get(KEY)
    if not isinstance(given, dict):
        return {}
    return {name: word for name, word in list(given.items())[:_MOST] if word in ("always", "never")}


async def _store(turn: Turn, services: Services, name: str, word: Word) -> None:
    """Keeps it in the chat's parameters. Raises OuiError."""
    if len(name) > _LONGEST:
        return
    async with change_chat(services.database, turn.principal, turn.chat_id, "own") as (unit, chat):
        stored = chat.body.get("params")
        params = stored if isinstance(stored, dict) else {}
        said = words_of(params) | {name: word}
        if len(said) <= _MOST:
            body = chat.body | {"params": params | {KEY: said}}
            await chats.change(unit.connection, chat, body=body, updated_at=now())
