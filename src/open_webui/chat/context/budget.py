"""The stage that keeps a conversation sendable: where older messages were left out, the first one left is a user's."""

from msgspec.structs import replace

from open_webui.chat.context.stage import StageContext
from open_webui.chat.turn import Draft, Turn


async def budget(turn: Turn, draft: Draft, _context: StageContext) -> Draft:
    """Drops answers whose question fell out of the window; the database already bounded the size."""
    if not turn.stored.truncated:
        return draft
    system = draft.messages[:1] if draft.messages and draft.messages[0]["role"] == "system" else ()
    rest = draft.messages[len(system) :]
    first = next((i for i, message in enumerate(rest) if message["role"] == "user"), 0)
    return replace(draft, messages=system + rest[first:])
