"""The stage that keeps a conversation sendable: where older messages were left out, the first one left is a user's."""

from open_webui.chat.turn import Draft, Turn


def budget(turn: Turn, draft: Draft) -> Draft:
    """Drops answers whose question fell out of the window; the database already bounded the size."""
    if not turn.truncated:
        return draft
    system = draft.messages[:1] if draft.messages and draft.messages[0]["role"] == "system" else ()
    rest = draft.messages[len(system) :]
    first = next((i for i, message in enumerate(rest) if message["role"] == "user"), 0)
    return Draft(messages=system + rest[first:], fields=draft.fields)
