"""All tables that are taken over, in order: what a row names comes before it. A new resource gets a row here."""

from typing import Final

from open_webui.moving_in import (
    automations,
    calendars,
    channels,
    chats,
    files,
    memories,
    notes,
    people,
    places,
    prompts,
    ratings,
    settings,
    workspace,
)
from open_webui.moving_in.move import Part

PARTS: Final[tuple[Part, ...]] = (
    people.PEOPLE,
    people.GROUPS,
    files.FILES,
    places.FOLDERS,
    places.BASES,
    places.PLACED,
    workspace.MODELS,
    workspace.TOOLS,
    workspace.FUNCTIONS,
    workspace.SKILLS,
    prompts.PROMPTS,
    chats.CHATS,
    memories.MEMORIES,
    ratings.RATINGS,
    notes.NOTES,
    channels.CHANNELS,
    channels.MESSAGES,
    channels.ANSWERS,
    channels.REACTIONS,
    calendars.CALENDARS,
    calendars.EVENTS,
    automations.AUTOMATIONS,
    settings.SETTINGS,
)
# Come with the rows that they belong to, each in the same transaction.
WITHIN: Final = frozenset(
    {
        "access_grant", "auth", "automation_run", "calendar_event_attendee", "channel_file", "channel_member",
        "channel_webhook", "chat_file", "chat_message", "chatidtag", "function_history", "group_member",
        "knowledge_directory", "model_history", "note_history", "pinned_note", "prompt_history", "shared_chat",
        "skill_history", "tag", "tool_history",
    }
)  # fmt: skip
# What the other server keeps for itself, or what is made anew here.
NOTHING: Final = frozenset({"alembic_version", "config_old", "document", "migratehistory", "oauth_session"})
