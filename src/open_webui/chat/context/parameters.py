"""The stage that adds the provider's fields: the profile's parameters, the chat's, and what the request itself says."""

from msgspec.structs import replace

from open_webui.chat.context.stage import StageContext
from open_webui.chat.turn import Draft, Turn
from open_webui.connections.params import merge


async def parameters(turn: Turn, draft: Draft, _context: StageContext) -> Draft:
    """Later layers win: profile, then chat and page, then fields of the request."""
    fields = merge(turn.target.entry.kind, turn.target.params, turn.params)
    return replace(draft, fields=draft.fields | fields | turn.request.fields)
