"""The model's list of what it has to do in a chat, which its page shows."""

from typing import Any, Final

from open_webui.errors import BadRequest, NotFound
from open_webui.models import chats
from open_webui.models.base import clean
from open_webui.models.chat_rows import LockedChat
from open_webui.services.builtin.row import Use
from open_webui.services.changes import change_chat
from open_webui.services.message_events import TASKS

STATUSES: Final = ("pending", "in_progress", "completed", "cancelled")
MOST: Final = 50
_LONGEST: Final = 500


async def create(use: Use) -> dict[str, Any]:
    """Puts a new list in the place of the one that there is."""
    given = use.arguments.get("tasks")
    if not isinstance(given, list) or len(given) > MOST:
        raise BadRequest(f"'tasks' should be a list of at most {MOST} tasks.")
    tasks: dict[str, dict[str, str]] = {}
    for n, said in enumerate(given, 1):
        one = {"content": said} if isinstance(said, str) else said
        content = one.get("content") if isinstance(one, dict) else None
        if not isinstance(content, str) or not content.strip():
            raise BadRequest(f"Task {n} should have a text as its 'content'.")
        key, status = one.get("id"), one.get("status")
        key = key[:50] if isinstance(key, str) and key and key[:50] not in tasks else str(n)
        status = status if status in STATUSES else STATUSES[0]
        tasks[key] = {"id": clean(key), "content": clean(content.strip()[:_LONGEST]), "status": status}
    return await _change(use, lambda _chat: list(tasks.values()))


async def update(use: Use) -> dict[str, Any]:
    """Says how far one of them is."""
    task_id, status = use.text("id", limit=50), use.text("status", limit=20)
    if status not in STATUSES:
        raise BadRequest(f"'status' should be one of {', '.join(STATUSES)}.")

    def updated(chat: LockedChat) -> list[Any]:
        tasks = [task for task in chat.tasks or [] if isinstance(task, dict)]
        if not any(task.get("id") == task_id for task in tasks):
            ids = ", ".join(str(task.get("id")) for task in tasks) or "none"
            raise NotFound(f"There is no task '{task_id}' in this chat. There are: {ids}.")
        return [task | {"status": status} if task.get("id") == task_id else task for task in tasks]

    return await _change(use, updated)


async def _change(use: Use, fresh: Any) -> dict[str, Any]:
    """Stores a list that is made of the chat as it is, and shows it."""
    chat_id = use.asked.chat_id
    if chat_id is None:
        raise BadRequest("A temporary chat has no list of tasks.")
    async with change_chat(use.deps.database, use.asked.principal, chat_id) as (unit, chat):
        tasks = fresh(chat)
        await chats.change(unit.connection, chat, tasks=tasks)
    await use.progress.emit(TASKS, {"tasks": tasks})
    return {"tasks": tasks}
