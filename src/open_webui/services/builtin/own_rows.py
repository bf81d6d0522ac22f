"""The built-in tools for what is a person's own: memories, notes, calendars, automations, channels."""

from typing import Any, Final

from open_webui.services.builtin.row import Row, flag, number, text

_COUNT: Final = number("How many at most")
_KIND: Final = text("'user' for what matters in every conversation, 'context' for what matters in some (default)") | {
    "enum": ["user", "context"]
}
# What all tools of memories have: they are a page's, of somebody who has memories on.
_MEMORY: Final[dict[str, Any]] = {
    "category": "memory",
    "needs": ("features.memories",),
    "feature": "memory",
    "setting": "memories.enable",
    "stored": True,
    "private": True,
}
_NOTES: Final[dict[str, Any]] = {
    "category": "notes",
    "needs": ("features.notes",),
    "setting": "notes.enable",
    "stored": True,
    "private": True,
}
_CALENDAR: Final[dict[str, Any]] = {
    "category": "calendar",
    "needs": ("features.calendar",),
    "setting": "calendar.enable",
    "private": True,
}
_AUTOMATIONS: Final[dict[str, Any]] = {
    "category": "automations",
    "needs": ("features.automations",),
    "setting": "automations.enable",
    "private": True,
}
_CHANNELS: Final[dict[str, Any]] = {
    "category": "channels",
    "needs": ("features.channels",),
    "setting": "channels.enable",
    "private": True,
}
_EVENT: Final = text("The event's id")
_AUTOMATION: Final = text("The automation's id")
_START: Final = "When it begins, as 2026-04-01T09:00, in the person's time zone; as 2026-04-01 for all day"
_END: Final = "When it ends, written like start; of what goes on all day its last day"
_REMINDER: Final = number("How many minutes before it the person wants to be reminded")
_RULE: Final = text(
    "When it is due, as a rule of iCalendar in the person's time zone, such as RRULE:FREQ=WEEKLY;BYDAY=MO;BYHOUR=9;BYMINUTE=0."
    " A line such as DTSTART:20260401T090000 may stand before it; with COUNT=1 it is due once"
)
_PROMPT: Final = text("What the model is asked each time; it knows nothing of this conversation")
_FOLDER: Final = "The id of the folder for the chats of its runs"

ROWS: Final = (
    Row(
        name="search_memories",
        description=(
            "Finds what the person wanted remembered in earlier conversations. Use it before you ask for something that they may"
            " have told already."
        ),
        parameters={
            "query": text("What is looked for"),
            "count": number("How many memories at most, 1 to 20 (default 5)"),
        },
        required=("query",),
        run="memories.search",
        **_MEMORY,
    ),
    Row(
        name="list_memories",
        description="Lists what the person wanted remembered, the newest change first.",
        parameters={"type": _KIND, "path": text("Only what stands at this path and below"), "count": _COUNT},
        run="memories.list_all",
        **_MEMORY,
    ),
    Row(
        name="add_memory",
        description=(
            "Remembers something about the person for later conversations. Use it where the person asks for it, or tells"
            " something that lasts: a preference, a fact, a plan. One short sentence in the third person each. Not for secrets,"
            " nor for what matters today only."
        ),
        parameters={
            "content": text("What is to be remembered"),
            "type": _KIND,
            "path": text("Where it belongs, such as work/projects"),
        },
        required=("content",),
        run="memories.add",
        **_MEMORY,
    ),
    Row(
        name="replace_memory_content",
        description="Puts another text in the place of a memory's, where it is not true any more.",
        parameters={"memory_id": text("The memory's id"), "content": text("The new text")},
        required=("memory_id", "content"),
        run="memories.replace",
        **_MEMORY,
    ),
    Row(
        name="delete_memory",
        description="Forgets a memory. Only where the person asks for it, or where it is wrong.",
        parameters={"memory_id": text("The memory's id")},
        required=("memory_id",),
        run="memories.delete",
        **_MEMORY,
    ),
    Row(
        name="search_notes",
        description="Finds the person's notes, and those shared with them, that have words in their title or text.",
        parameters={
            "query": text("The words, as they stand there"),
            "count": number("How many notes at most, 1 to 30 (default 5)"),
            "start_timestamp": number("Only notes changed since then (Unix seconds)"),
            "end_timestamp": number("Only notes changed until then (Unix seconds)"),
        },
        required=("query",),
        run="notes.search",
        **_NOTES,
    ),
    Row(
        name="view_note",
        description="Reads a note in Markdown, as it is now.",
        parameters={"note_id": text("The note's id")},
        required=("note_id",),
        run="notes.view",
        **_NOTES,
    ),
    Row(
        name="write_note",
        description="Writes a new note for the person. Only where they want something written down.",
        parameters={"title": text("What it is called"), "content": text("Its text, in Markdown")},
        required=("title", "content"),
        run="notes.write",
        **_NOTES,
    ),
    Row(
        name="replace_note_content",
        description=(
            "Changes a note, while people may be writing in it. Read it with view_note before. Change single places with"
            " operations rather than all of it."
        ),
        parameters={
            "note_id": text("The note's id"),
            "content": text("The whole new text, in Markdown; instead of operations"),
            "operations": {
                "type": "array",
                "description": "What is replaced, one after the other",
                "items": {
                    "type": "object",
                    "properties": {
                        "find": text("A text that stands in the note exactly once"),
                        "replace": text("What stands there then; empty takes it away"),
                    },
                    "required": ["find", "replace"],
                },
            },
            "title": text("Another title"),
        },
        required=("note_id",),
        run="notes.replace",
        **_NOTES,
    ),
    Row(
        name="search_calendar_events",
        description=(
            "Finds events in the person's calendars: those of a span of time, those with some words in them, or what comes next"
            " where nothing is given. What repeats is there with each of its times. It also tells the time zone, what time it is"
            " there, and the calendars."
        ),
        parameters={
            "query": text("Words in the title, description or place, as they stand there"),
            "start": text("Only what takes place from then on, as 2026-04-01 or 2026-04-01T09:00"),
            "end": text("Only what begins until then; a date has that day in it. 400 days after start at most"),
            "count": number("How many at most, 1 to 50 (default 10)"),
        },
        run="calendars.search",
        **_CALENDAR,
    ),
    Row(
        name="create_calendar_event",
        description="Puts an event into a calendar of the person's. Only where they want it there.",
        parameters={
            "title": text("What it is called"),
            "start": text(_START),
            "end": text(f"{_END}. Left out: an hour, or that day"),
            "description": text("More about it"),
            "calendar_id": text("The calendar's id; left out, the person's default one"),
            "all_day": flag("Whether it goes on all day"),
            "location": text("Where it takes place"),
            "reminder_minutes": _REMINDER,
        },
        required=("title", "start"),
        run="calendars.create",
        **_CALENDAR,
    ),
    Row(
        name="update_calendar_event",
        description=(
            "Changes an event; what is left out stays, and with another start it takes as long as before. Of an event that"
            " repeats all times are changed, and start is that of the first one (first_start)."
        ),
        parameters={
            "event_id": _EVENT,
            "title": text("Another title"),
            "description": text("Another description; empty takes it away"),
            "start": text(_START),
            "end": text(_END),
            "all_day": flag("Whether it goes on all day"),
            "location": text("Another place; empty takes it away"),
            "is_cancelled": flag("Whether it is called off; then no calendar shows it"),
            "reminder_minutes": _REMINDER,
        },
        required=("event_id",),
        run="calendars.update",
        **_CALENDAR,
    ),
    Row(
        name="delete_calendar_event",
        description="Removes an event, with all its times where it repeats. Only where the person wants that.",
        parameters={"event_id": _EVENT},
        required=("event_id",),
        run="calendars.delete",
        **_CALENDAR,
    ),
    Row(
        name="list_automations",
        description="Lists the person's automations, the newest first: prompts that are put to a model at their times.",
        parameters={
            "status": text("Only those that are switched on, or off (default all)")
            | {"enum": ["active", "paused", "all"]},
            "folder_id": text("Only those of this folder"),
            "count": number("How many at most, 1 to 50 (default 10)"),
        },
        run="automations.list_all",
        **_AUTOMATIONS,
    ),
    Row(
        name="create_automation",
        description=(
            "Has this model asked something again and again, or once later; each answer is a chat of its own. Only where the"
            " person wants that. Tell them when it is due next."
        ),
        parameters={
            "name": text("What it is called"),
            "prompt": _PROMPT,
            "rrule": _RULE,
            "folder_id": text(_FOLDER),
        },
        required=("name", "prompt", "rrule"),
        by_page=True,
        run="automations.create",
        **_AUTOMATIONS,
    ),
    Row(
        name="update_automation",
        description="Changes an automation; what is left out stays.",
        parameters={
            "automation_id": _AUTOMATION,
            "name": text("Another name"),
            "prompt": _PROMPT,
            "rrule": _RULE,
            "model_id": text("The id of another model"),
            "folder_id": text(f"{_FOLDER}; empty takes it out of its folder"),
        },
        required=("automation_id",),
        run="automations.update",
        **_AUTOMATIONS,
    ),
    Row(
        name="toggle_automation",
        description="Switches an automation off, or on again.",
        parameters={"automation_id": _AUTOMATION},
        required=("automation_id",),
        run="automations.toggle",
        **_AUTOMATIONS,
    ),
    Row(
        name="delete_automation",
        description="Removes an automation. Only where the person wants that; toggle_automation keeps it.",
        parameters={"automation_id": _AUTOMATION},
        required=("automation_id",),
        run="automations.delete",
        **_AUTOMATIONS,
    ),
    Row(
        name="search_channels",
        description="Finds the channels in which the person reads and writes with others; first where somebody wrote last.",
        parameters={
            "query": text("A part of the name or description; left out, all of them"),
            "count": number("How many at most, 1 to 50 (default 10)"),
        },
        run="channels.search",
        **_CHANNELS,
    ),
    Row(
        name="search_channel_messages",
        description="Finds messages in the person's channels that have a text in them, the newest first.",
        parameters={
            "query": text("The text, as it stands there"),
            "count": number("How many at most, 1 to 50 (default 10)"),
            "start_timestamp": number("Only messages written since then (Unix seconds)"),
            "end_timestamp": number("Only messages written until then (Unix seconds)"),
        },
        required=("query",),
        run="channels.search_messages",
        **_CHANNELS,
    ),
    Row(
        name="view_channel_thread",
        description="Reads a message of a channel and the newest answers to it, the oldest first.",
        parameters={"parent_message_id": text("The id of the message that the thread began with")},
        required=("parent_message_id",),
        run="channels.view_thread",
        **_CHANNELS,
    ),
    Row(
        name="view_channel_message",
        description="Reads all of one message of a channel.",
        parameters={"message_id": text("The message's id")},
        required=("message_id",),
        run="channels.view_message",
        **_CHANNELS,
    ),
)
