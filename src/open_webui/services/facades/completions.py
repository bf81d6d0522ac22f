"""Models that plugins ask: with the person's rights, counted as the person's questions."""

from typing import Any

from open_webui.services.facades.asking import check_depth
from open_webui.services.facades.use import Use


async def ask(use: Use) -> Any:
    """An OpenAI chat completion: a dictionary, or the lines of its event stream as they come."""
    check_depth(use)
    body = {name: value for name, value in use.object("form_data").items() if name != "metadata"}
    if not body.get("model") and isinstance(model := use.call.context.get("model"), dict):
        body["model"] = model.get("id")
    return await use.deps.ask_model(use.principal, body)
