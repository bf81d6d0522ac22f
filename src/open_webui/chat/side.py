"""Side questions to a model (titles, tags, follow-ups): which model is asked, and one call without a stream."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from open_webui.chat import prompts
from open_webui.config import Config
from open_webui.connections.base import Models, Target
from open_webui.connections.gate import Gate
from open_webui.principal import Principal

if TYPE_CHECKING:
    from synthora.messages import BaseMessage

TITLE_TOKENS: Final = 1000
_BACKEND: Final = "open_webui.chat.backend"


def task_model(config: Config, catalogue: Models, target: Target) -> Target:
    """The model for side questions about an answer by `target`: the configured one for its kind, else itself."""
    key = "task.model.external" if target.entry.kind == "openai" else "task.model.default"
    wanted = config[key]
    found = catalogue.find(wanted) if wanted else None
    return found or target


async def ask(
    gate: Gate,
    principal: Principal,
    target: Target,
    prompt: str,
    *,
    fields: Mapping[str, Any] | None = None,
    attempts: int = 1,
) -> "BaseMessage":
    """One question; the answer, with the provider's JSON as `original_response`. Raises ProviderError.

    attempts: how often it is asked, where the provider is overloaded or can't be reached.
    """
    if _BACKEND not in sys.modules:
        await asyncio.to_thread(import_module, _BACKEND)
    from open_webui.chat.backend import Asking, ConnectionBackend  # noqa: PLC0415 -- not needed to start
    from synthora.messages import user  # noqa: PLC0415

    backend = Asking(ConnectionBackend(gate, principal, target, fields), attempts=attempts)
    answer: BaseMessage = await backend.async_run(user(prompt), stream=False)
    return answer


def conversation(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Role and text of messages that people or models wrote."""
    return [
        {"role": m.get("role"), "content": prompts.plain_text(m.get("content"))}
        for m in messages
        if m.get("role") in ("user", "assistant")
    ]
