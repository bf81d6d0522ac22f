"""The stage that adds the provider's fields: the profile's parameters, the chat's, and what the request itself says."""

from open_webui.chat.params import merge
from open_webui.chat.turn import Draft, Turn


def parameters(turn: Turn, draft: Draft) -> Draft:
    """Later layers win: profile, then chat and page, then fields of the request."""
    fields = merge(turn.target.entry.kind, turn.target.params, turn.params)
    return Draft(messages=draft.messages, fields=fields | turn.fields)
