"""Telling the person something, where they want to be told."""

from typing import Any

from open_webui.services.builtin.row import Use
from open_webui.services.notifications import MAX_TEXT, MAX_TITLE


async def notify(use: Use) -> dict[str, Any]:
    """Puts the message in; it is sent by a job, so that one that can't be sent now is sent later."""
    title = use.text("title", limit=MAX_TITLE) if use.arguments.get("title") else "A message from your assistant"
    target = use.text("target", limit=100) if use.arguments.get("target") else ""
    message = use.text("message", limit=MAX_TEXT)
    return {"sent_to": await use.deps.notifier.send_to(use.asked.principal, target, title, message)}
