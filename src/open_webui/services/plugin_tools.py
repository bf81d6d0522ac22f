"""The tools that people wrote, as models call them: each in its confined process."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from open_webui.errors import NotFound
from open_webui.models import tools
from open_webui.models.tools import KIND
from open_webui.models.tools import Tool as ToolRow
from open_webui.plugins.host import PluginSource
from open_webui.services import plugin_calls
from open_webui.services.plugin_calls import Deps
from open_webui.tools.port import Asked, Progress, Tool, ToolResult

GONE: Final = "The tool '{}' can't be used: it is not there any more, or it isn't shared with you."
_SHOWN: Final = "The result is shown to the person."


class PluginTools:
    """`tools.port.ToolSource` of tools that are plugins: ids without a colon are theirs."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def tools(self, asked: Asked) -> Sequence[Tool]:
        """See `tools.port.ToolSource`. Raises NotFound."""
        deps, wanted = self._deps, [tool_id for tool_id in asked.ids if ":" not in tool_id]
        settings = deps.settings
        if not wanted or settings.safe_mode or not (settings.enable_plugins and settings.enable_tools):
            return ()
        rows: dict[str, ToolRow] = {}
        async with deps.database.read() as connection:
            for tool_id in wanted:
                row = await tools.repository.get_for(connection, asked.principal, tool_id)
                if row is not None:
                    rows[tool_id] = row
                elif tool_id not in asked.brought:
                    raise NotFound(GONE.format(tool_id[:100]))
        with_own = tuple(i for i, row in rows.items() if row.meta.get("has_user_valves") is True)
        own = await plugin_calls.valves_of(deps, KIND, with_own, asked.principal.id) if with_own else {}
        return [
            PluginTool(deps, plugin_calls.source_of(deps, KIND, row), spec, asked, own.get(tool_id))
            for tool_id, row in rows.items()
            for spec in row.specs
            if isinstance(spec, dict) and isinstance(spec.get("name"), str)
        ]


class PluginTool:
    """One function of a plugin, for one answer: `tools.port.Tool`."""

    def __init__(
        self,
        deps: Deps,
        source: PluginSource,
        spec: dict[str, Any],
        asked: Asked,
        own: Mapping[str, Any] | None,
    ) -> None:
        self.definition = spec
        # The process has its own limit; it tells more when it ends a call.
        self.seconds: float = deps.settings.plugin_call_seconds + 5
        self._deps = deps
        self._source = source
        self._asked = asked
        self._own = own

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        """See `tools.port.Tool`."""
        host, source, asked = self._deps.plugins, self._source, self._asked
        name = self.definition["name"]
        value = await host.call(
            source,
            name,
            arguments,
            context=plugin_calls.context_of(asked, source.id, progress.metadata, self._own),
            answer=plugin_calls.answering(self._deps, asked.principal, progress),
        )
        result = result_of(value)
        # Where the model is asked in words, all results are cited.
        cites = asked.is_native and (await host.load(source)).attributes.get("citation") is True
        if cites and not result.embeds:
            called = {"source": f"{source.id}/{name}", "parameters": arguments}
            await progress.add_source(
                {"source": {"name": called["source"]}, "document": [result.text], "metadata": [called]}
            )
        return result


def result_of(value: Any) -> ToolResult:
    """What a function of a tool returned, for the model and the page: a page of HTML is shown, everything else is told."""
    if isinstance(value, dict) and isinstance(response := value.get("$response"), dict):
        return _response(response, None)
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], dict) and "$response" in value[0]:
        return _response(value[0]["$response"], value[1])
    return ToolResult(text=_text(value))


def _response(response: Mapping[str, Any], told: Any) -> ToolResult:
    headers = {str(k).lower(): str(v) for k, v in (response.get("headers") or {}).items()}
    body = response.get("body")
    body = body if isinstance(body, str) else _text(body)
    if "html" in headers.get("content-type", "text/html"):
        return ToolResult(text=_SHOWN if told is None else _text(told), embeds=(body,))
    return ToolResult(text=body if told is None else _text(told))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
