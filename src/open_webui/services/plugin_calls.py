"""What a plugin is told of the answer that it takes part in, and what it is answered when it asks."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from open_webui.errors import BadRequest
from open_webui.models import user_valves
from open_webui.plugins.host import PluginHost
from open_webui.plugins.source import Answer, Call, PluginSource
from open_webui.principal import Principal
from open_webui.services import facades, plugins
from open_webui.services.facades.deps import Deps as FacadeDeps
from open_webui.services.plugins import Deps as PluginDeps
from open_webui.tools.port import Asked, Progress, ToolResult

# Seconds that a person has for a question of a plugin.
ASK_SECONDS: Final = 300.0
# What a plugin may ask a page for.
ASKED: Final = frozenset({"confirmation", "input", "execute"})
_NO_EVENT: Final = "An event should be an object with a type and its data."

CallTool = Callable[[str, dict[str, Any]], Awaitable[ToolResult]]


class Deps(FacadeDeps, Protocol):
    """What it needs of the state."""

    @property
    def plugins(self) -> PluginHost: ...


def source_of(deps: PluginDeps, kind: str, row: Any) -> PluginSource:
    """A stored tool or function as the host takes it."""
    manifest = row.meta.get("manifest") or {}
    named = manifest.get("requirements") if isinstance(manifest, dict) else None
    requirements = [part.strip() for part in named.split(",")] if isinstance(named, str) else []
    return PluginSource(
        id=row.id,
        kind=kind,
        content=row.content,
        valves=None if row.valves is None else plugins.unseal(deps, kind, row.id, row.valves),
        requirements=tuple(part for part in requirements if part),
    )


async def valves_of(
    deps: PluginDeps, kind: str, plugin_ids: tuple[str, ...], user_id: str
) -> dict[str, dict[str, Any]]:
    """What somebody set of plugins for themselves, by the plugins' ids."""
    found: dict[str, dict[str, Any]] = {}
    async with deps.database.read() as connection:
        for plugin_id in plugin_ids:
            sealed = await user_valves.get(connection, kind, plugin_id, user_id)
            if sealed is not None:
                found[plugin_id] = plugins.unseal(deps, kind, plugin_id, sealed, user_id)
    return found


def user_of(principal: Principal) -> dict[str, Any]:
    """Somebody as plugins are told of the person who asks."""
    return {"id": principal.id, "name": principal.name, "email": principal.email, "role": principal.role}


def metadata_of(asked: Asked) -> dict[str, Any]:
    """What plugins know of an answer from the first on."""
    return {
        "user_id": asked.principal.id,
        "chat_id": asked.chat_id,
        "message_id": asked.message_id,
        "session_id": asked.session_id,
        "folder_id": asked.folder_id,
        "tool_ids": list(asked.ids),
        "files": list(asked.files),
        "features": dict.fromkeys(sorted(asked.features), True),
        "model": model_of(asked.model_id, asked.meta),
        "function_calling": "native" if asked.is_native else "legacy",
    }


def model_of(model_id: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    """A model as plugins are told of it."""
    return {"id": model_id, "name": model_id, "info": {"id": model_id, "meta": dict(meta)}}


def context_of(
    asked: Asked, plugin_id: str, metadata: dict[str, Any], own: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """See `plugins.host`. metadata: one dictionary for all plugins of an answer. own: what the person set for themselves."""
    if not metadata:
        metadata.update(metadata_of(asked))
    return {
        "user": user_of(asked.principal),
        "user_valves": dict(own or {}),
        "metadata": metadata,
        "model": metadata.get("model"),
        "files": list(asked.files),
        "messages": list(asked.messages),
        "tools": [{"name": name, "spec": tool.definition} for name, tool in asked.tools.items()],
        "chat_id": asked.chat_id,
        "message_id": asked.message_id,
        "session_id": asked.session_id,
        "id": plugin_id,
        "request": {"headers": {}, "base_url": "", "url": "", "method": "POST", "query": {}},
    }


def answering(deps: Deps, principal: Principal, progress: Progress | None, call_tool: CallTool | None = None) -> Answer:
    """What answers the questions of one call: all in the name of who asked. To be made where the call is made.

    call_tool: calls one of the answer's tools (`Asked.call`).
    """
    facade = facades.answering(deps, principal)

    async def answer(call: Call, name: str, arguments: dict[str, Any]) -> Any:
        if name == "event":
            kind, data = event_of(arguments)
            if progress is not None:
                await progress.emit(kind, data)
            return None
        if name == "event_call":
            kind, data = event_of(arguments)
            if kind not in ASKED:
                raise BadRequest(f"A plugin can't ask a page for '{kind[:100]}'.")
            if progress is None:
                raise BadRequest("There is no page that could be asked.")
            return await progress.ask(kind, data, seconds=ASK_SECONDS)
        if name == "tool_call":
            return await _called(call_tool, arguments)
        return await facade(call, name, arguments)

    return answer


async def _called(call_tool: CallTool | None, told: Mapping[str, Any]) -> str:
    """What a tool said that a plugin called. Raises BadRequest with what went wrong."""
    name, arguments = told.get("name"), told.get("arguments")
    if call_tool is None or not isinstance(name, str) or not isinstance(arguments, dict):
        raise BadRequest("There is no such tool here.")
    result = await call_tool(name, arguments)
    if result.failed:
        raise BadRequest(result.text)
    return result.text


def event_of(arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The type and the data of an event that a plugin gave. Raises BadRequest."""
    event = arguments.get("event")
    kind = event.get("type") if isinstance(event, dict) else None
    data = event.get("data", {}) if isinstance(event, dict) else None
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise BadRequest(_NO_EVENT)
    return kind, data
