"""What events of tools do to a message: to a stored row, or to the answer that is being written, which owns its message."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from open_webui.errors import BadRequest
from open_webui.models.base import now
from open_webui.models.messages import MessageRow
from open_webui.utils.tree import problem_of

# Event types that change the message, and the field and the key of the data that they are about.
_APPENDED: Final = {"status": "statusHistory", "source": "sources", "citation": "sources"}
_LISTED: Final = {"files": "files", "chat:message:files": "files", "embeds": "embeds"}
# Text that is added (True), or takes the place of what is there.
_TEXT: Final = {"message": True, "chat:message:delta": True, "replace": False, "chat:message": False}
_FOLLOW_UPS: Final = "follow_ups"
TASKS: Final = "chat:message:tasks"
# What a model did on a terminal: pages show the file, or look at the folder again.
TERMINAL: Final = frozenset(
    f"terminal:{done}" for done in ("display_file", "write_file", "replace_file_content", "run_command")
)
_SHOWN: Final = TERMINAL | frozenset(
    {"notification", TASKS, "chat:message:error", f"chat:message:{_FOLLOW_UPS}", "chat:tasks:cancel"}
)
TEXTS: Final = _TEXT.keys()
KINDS: Final = _APPENDED.keys() | _LISTED.keys() | _TEXT.keys() | _SHOWN
# Entries of one list of a message.
MAX_ENTRIES: Final = 1_000


class Owner(Protocol):
    """A running answer, the one owner of its message while it is written (chat.running.RunningAnswer is one)."""

    body: dict[str, Any]

    @property
    def has_ended(self) -> bool: ...

    def set(self, **fields: Any) -> None:
        """Sets fields of the message beside its text."""
        ...

    def append(self, name: str, entries: list[Any]) -> None: ...

    def resolve(self, user_id: str, call_id: str, given: Mapping[str, Any]) -> bool:
        """Answers a call of a tool that waits for this person; false where none does."""
        ...

    async def tell(self, kind: str, data: Any) -> None:
        """An event goes to those who watch, behind what they are still to hear."""
        ...

    async def append_text(self, text: str) -> None:
        """Adds to the text, and tells it."""
        ...

    async def replace_text(self, kind: str, text: str, data: dict[str, Any]) -> None:
        """Makes a text what is said so far, and tells it as this event."""
        ...


class Others(Protocol):
    """The answers that other processes write (chat.others.Others)."""

    async def forward(self, chat_id: str, message_id: str, topic: str, payload: Any) -> bool:
        """Has the process that writes a message change it. False where none does (any more)."""
        ...


class Running(Protocol):
    """The answers that are being written (chat.registry.RunningAnswers has it). others: where there may be any."""

    @property
    def others(self) -> Others | None: ...

    async def owner_of(self, chat_id: str, message_id: str) -> Owner | None:
        """Who is asked to change this message; None when nobody writes it (any more): its end is stored then."""
        ...


def check(kind: str, data: dict[str, Any]) -> None:
    """Raises BadRequest for lists that no page can show."""
    if kind == TASKS and not _are_objects(data.get("tasks")):
        raise BadRequest("The event can't be taken: its `tasks` should be a list of objects.")
    key = _FOLLOW_UPS if kind == f"chat:message:{_FOLLOW_UPS}" else _LISTED.get(kind)
    if key is None or key not in data:
        return
    if (problem := problem_of("followUps" if key == _FOLLOW_UPS else key, data[key])) is not None:
        raise BadRequest(f"The event can't be taken: its `{key}` {problem}.")


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_ENTRIES and all(isinstance(one, dict) for one in value)


async def apply_to_running(owner: Owner, kind: str, data: dict[str, Any]) -> None:
    """Has a running answer take an event. Raises BadRequest."""
    if kind in _TEXT:
        text = _text(data)
        if _TEXT[kind]:
            await owner.append_text(text)
        else:
            await owner.replace_text(kind, text, data)
        return
    name = _name(kind)
    if name is not None:
        owner.append(name, _more(owner.body, kind, data))
    await owner.tell(kind, data)


def apply_to_row(row: MessageRow, kind: str, data: dict[str, Any]) -> set[str]:
    """Changes a row as an event says, and names the columns that are to be stored. Raises BadRequest."""
    row.updated_at = now()
    name = _name(kind)
    if kind in _TEXT:
        text = _text(data)
        row.content = row.content + text if _TEXT[kind] else text
        had_parts = row.body.pop("content", None) is not None
        return {"content", "body"} if had_parts else {"content"}
    if name is not None:
        stored = row.body.get(name)
        row.body[name] = [*(stored if isinstance(stored, list) else []), *_more(row.body, kind, data)]
        return {"body"}
    return set()


def _text(data: dict[str, Any]) -> str:
    text = data.get("content")
    if not isinstance(text, str):
        raise BadRequest("The event has no text in `content`.")
    return text


def _name(kind: str) -> str | None:
    return _APPENDED.get(kind) or _LISTED.get(kind)


def _more(body: dict[str, Any], kind: str, data: dict[str, Any]) -> list[Any]:
    """The entries that an event adds to its list."""
    more = data.get(_LISTED[kind], []) if kind in _LISTED else [data]
    stored = body.get(_name(kind) or "")
    if len(more) + (len(stored) if isinstance(stored, list) else 0) > MAX_ENTRIES:
        raise BadRequest(f"A message holds at most {MAX_ENTRIES} of these.")
    return more
