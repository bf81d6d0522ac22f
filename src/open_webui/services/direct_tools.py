"""A person's own tool servers, which their browser calls: the page describes them with a question, and is asked to call."""

import uuid
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from open_webui.config import Config
from open_webui.errors import Forbidden, Unavailable
from open_webui.events import Caller, ChatEvent
from open_webui.tools.openapi import MAX_OPERATIONS, MAX_SCHEMA, BadDocument, document_of, operations, tool_name
from open_webui.tools.port import Asked, Progress, Tool, ToolResult

# Seconds that a browser has for one call.
SECONDS: Final = 120.0
MOST_SERVERS: Final = 50
NOT_ALLOWED: Final = "You may not use tool servers of your own on this server."
SWITCHED_OFF: Final = "Tool servers of one's own are switched off on this server."
NO_PAGE: Final = "Tool servers of one's own are called by a page, and none is open."
# As the wire has it.
GONE: Final = {"error": "Client session disconnected."}


class DirectTools:
    """A source of tools: the servers that come with a question."""

    def __init__(self, config: Config, caller: Caller) -> None:
        self._config, self._caller = config, caller

    async def tools(self, asked: Asked) -> Sequence[Tool]:
        """See `ToolSource`. Raises Forbidden where they may not be used, Unavailable without a page."""
        if not asked.servers:
            return ()
        if not self._config["direct.integrations.enable"]:
            raise Forbidden(SWITCHED_OFF, status=403)
        if not asked.principal.may("features.direct_tool_servers"):
            raise Forbidden(NOT_ALLOWED, status=403)
        if asked.session_id is None:
            raise Unavailable(NO_PAGE)
        return [
            DirectTool(self._caller, asked, server, described)
            for server in asked.servers[:MOST_SERVERS]
            for described in _described(server)
        ]


class DirectTool:
    """One operation of such a server."""

    seconds = SECONDS + 5

    def __init__(self, caller: Caller, asked: Asked, server: dict[str, Any], described: dict[str, Any]) -> None:
        self.definition = described
        self._caller, self._asked = caller, asked
        self._server = {name: value for name, value in server.items() if name != "specs"}

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        """See `Tool`."""
        del progress
        asked = self._asked
        assert asked.session_id is not None
        call = {
            "id": str(uuid.uuid4()),
            "name": self.definition["name"],
            "params": arguments,
            "server": self._server,
            "session_id": asked.session_id,
        }
        event = ChatEvent(asked.chat_id or "", asked.message_id, "execute:tool", call)
        try:
            answer = await self._caller.call(asked.session_id, asked.principal.id, event.wire(), SECONDS)
        except TimeoutError:
            raise Unavailable(f"The browser did not answer within {SECONDS:g} seconds.") from None
        except LookupError:
            answer = GONE
        return _result(answer)


def _described(server: dict[str, Any]) -> list[dict[str, Any]]:
    """The functions of a server, as its page made them, or of the document that it sent."""
    specs = server.get("specs")
    if not isinstance(specs, list):
        try:
            document = document_of(msgspec.json.encode(server.get("openapi")))
        except (BadDocument, ValueError):
            return []
        return [operation.definition for operation in operations(document)]
    found = []
    for spec in specs[:MAX_OPERATIONS]:
        if not isinstance(spec, dict) or not isinstance(name := spec.get("name"), str) or tool_name(name) != name:
            continue
        parameters = spec.get("parameters")
        described = {
            "name": name,
            "description": str(spec.get("description") or ""),
            "parameters": parameters if isinstance(parameters, dict) else {"type": "object", "properties": {}},
        }
        if len(msgspec.json.encode(described)) <= MAX_SCHEMA:
            found.append(described)
    return found


def _result(answer: Any) -> ToolResult:
    """What a page answered: a value, or one with its headers behind it."""
    if isinstance(answer, list) and len(answer) == 2 and isinstance(answer[1], dict) and "content-type" in answer[1]:
        answer = answer[0]
    failed = isinstance(answer, dict) and answer.keys() == {"error"}
    text = answer if isinstance(answer, str) else msgspec.json.encode(answer).decode()
    return ToolResult(text=text, failed=failed)
