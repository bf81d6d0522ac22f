"""The stage that has filters change what the model is asked, when all else of it stands."""

import importlib
from typing import Any

import msgspec

from open_webui.chat.context.stage import StageContext
from open_webui.chat.context.tools import asked
from open_webui.chat.turn import Draft, Turn
from open_webui.connections import remote_filters


async def filters(turn: Turn, draft: Draft, context: StageContext) -> Draft:
    """The draft after the filters of pipelines servers, then of this server and the model; as it is where there are none.

    Raises OuiError where one of them fails.
    """
    draft = await _remote(turn, draft, context)
    functions = context.services.gate.models.functions
    if not functions:
        return draft
    # Not needed to start.
    plugin_filters: Any = importlib.import_module("open_webui.services.plugin_filters")
    rows = plugin_filters.wanted(functions, turn.target.meta, turn.request.filter_ids)
    if not rows:
        return draft
    with_tools: Any = importlib.import_module("open_webui.chat.tools_for_plugins").with_tools
    wanted = with_tools(asked(turn, draft, context.services.config), turn, draft, context)
    context.filtering = await context.services.filters().of(rows, wanted, context)
    if not context.filtering.have(plugin_filters.INLET):
        return draft
    body = await context.filtering.through(plugin_filters.INLET, _body(turn, draft, context))
    return _taken(draft, body)


async def _remote(turn: Turn, draft: Draft, context: StageContext) -> Draft:
    gate = context.services.gate
    if not gate.models.remote_filters(turn.target):
        return draft
    shown = _body(turn, draft, context) | {"metadata": None}
    told = {"chat_id": turn.chat_id, "message_id": turn.message_id, "session_id": turn.session_id}
    return _taken(draft, await remote_filters.inlet(gate, turn.principal, turn.target, shown, told))


def _taken(draft: Draft, body: dict[str, Any]) -> Draft:
    fields = {name: value for name, value in body.items() if name not in remote_filters.FIXED}
    return msgspec.structs.replace(draft, messages=tuple(body["messages"]), fields=fields)


def _body(turn: Turn, draft: Draft, context: StageContext) -> dict[str, Any]:
    return {
        **draft.fields,
        "model": turn.target.model_id,
        "messages": list(draft.messages),
        "stream": turn.request.stream,
        "metadata": context.metadata,
        "files": list(turn.request.files),
        "chat_id": turn.chat_id,
        "id": turn.message_id,
        "session_id": turn.session_id,
    }
