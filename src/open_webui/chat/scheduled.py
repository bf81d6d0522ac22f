"""Asks what an automation asks: a new chat of its owner's, as if their page had sent it, with nobody looking on."""

import asyncio

from open_webui.chat.registry import RunningAnswers
from open_webui.chat.request import Ask, NewChat, PageRequest, Tasks
from open_webui.chat.starter import Starter
from open_webui.models.automations import Automation
from open_webui.principal import Principal
from open_webui.services.schedule import Asking


class Scheduled:
    """`services.schedule.Asker`."""

    def __init__(self, starter: Starter, running: RunningAnswers) -> None:
        self._starter = starter
        self._running = running

    async def ask(self, principal: Principal, automation: Automation, asking: Asking, seconds: float) -> bool:
        """See `Asker`. Who cancels this does not end the answer, which is the server's."""
        reply = await self._starter.start(principal, request_of(automation, asking))
        tasks = set(reply["task_ids"])
        entry = next((one for one in self._running.entries() if one.running.turn.task_id in tasks), None)
        if entry is None or entry.task is None:
            return True
        done, _ = await asyncio.wait({entry.task}, timeout=seconds)
        if not done:
            await entry.end()
        return bool(done)


def request_of(automation: Automation, asking: Asking) -> PageRequest:
    """What a page would send."""
    data = automation.data
    terminal = data.get("terminal")
    model_id = str(data.get("model_id") or "")
    question = {
        "id": asking.question_id,
        "parentId": None,
        "role": "user",
        "content": str(data.get("prompt") or ""),
        "models": [model_id],
    }
    return PageRequest(
        session_id="",
        chat_id=None,
        asks=(Ask(model_id, asking.answer_id),),
        parent_id=None,
        user_message=question,
        continued=False,
        messages=None,
        params={},
        fields={},
        variables={},
        chat_variables={},
        files=[],
        features=frozenset({"memory"}),
        terminal_id=terminal.get("server_id") if isinstance(terminal, dict) else None,
        folder_id=automation.folder_id,
        tasks=Tasks(),
        stream=True,
        new_chat=NewChat(asking.chat_id, automation.name, {"automation_id": automation.id}),
    )
