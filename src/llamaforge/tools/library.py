"""The loop over the models of a forge: messages are OpenAI's dictionaries."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from llamaforge.formats.completions import chunk_text, whole
from llamaforge.tools.loop import AApprove, Answer, Approve, Observe, Request, Result, ToolLoop, arun, run
from llamaforge.tools.step import Call
from llamaforge.tools.tool import Tool

if TYPE_CHECKING:
    from llamaforge.forge import LlamaForge

Json = dict[str, Any]
Source = Tool | Callable[..., Any] | Literal["plugins"]


class ChatMessages:
    """Messages as chat completions have them."""

    def calls(self, message: Json) -> Sequence[Call]:
        """The calls of an answer; one without an id gets one, here and in the message."""
        found = []
        for number, call in enumerate(message.get("tool_calls") or ()):
            call["id"] = call.get("id") or f"call_{number}"
            function = call.get("function") or {}
            arguments = function.get("arguments") or ""
            if not isinstance(arguments, str):
                arguments = json.dumps(arguments)
            found.append(Call(call["id"], str(function.get("name") or ""), arguments))
        return found

    def text(self, message: Json) -> str | None:
        """The text of an answer, None of a refusal."""
        return None if message.get("refusal") else message.get("content") or ""

    def result(self, call: Any, result: Result) -> Json:
        """A message of the role "tool"."""
        return {"role": "tool", "tool_call_id": call.call_id, "content": result.text}

    def correction(self, text: str) -> Json:
        """A message of the user's."""
        return {"role": "user", "content": text}


def run_tools(
    forge: LlamaForge,
    messages: Sequence[Mapping[str, Any]],
    tools: Iterable[Source],
    parameters: Mapping[str, Any] | None = None,
    *,
    model: str | None = None,
    approve: Approve | None = None,
    observe: Observe | None = None,
    on_text: Callable[[str], object] | None = None,
    **options: Any,
) -> Answer[Json]:
    """A model's answer to `messages`, with the tools that it calls run on the way.

    tools: functions, Tools, or "plugins" for the forge's enabled ones. on_text: called with each piece of text as it is
    written, in all rounds. options: `max_rounds`, `check` and `retries`, see ToolLoop. approve, observe: see `loop.run`.
    Raises what the forge raises, GenerationError, InvalidOutputError, ParameterError.
    """
    loop = ToolLoop([dict(m) for m in messages], _resolved(forge, tools), ChatMessages(), **options)

    def ask(request: Request[Json]) -> Json:
        given = {**(parameters or {}), **_asked(request)}
        pieces = []
        with contextlib.closing(forge.chat_completion_stream(request.messages, given, model=model)) as chunks:  # type: ignore[type-var]
            for chunk in chunks:
                pieces.append(chunk)
                if on_text is not None and (text := chunk_text(chunk)):
                    on_text(text)
        return _message(pieces)

    return run(loop, ask, approve=approve, observe=observe)


async def arun_tools(
    forge: LlamaForge,
    messages: Sequence[Mapping[str, Any]],
    tools: Iterable[Source],
    parameters: Mapping[str, Any] | None = None,
    *,
    model: str | None = None,
    approve: AApprove | None = None,
    observe: Observe | None = None,
    on_text: Callable[[str], object] | None = None,
    **options: Any,
) -> Answer[Json]:
    """`run_tools` without blocking the event loop; cancelling it ends the generation and asynchronous tools."""
    loop = ToolLoop([dict(m) for m in messages], _resolved(forge, tools), ChatMessages(), **options)

    async def ask(request: Request[Json]) -> Json:
        given = {**(parameters or {}), **_asked(request)}
        pieces = []
        stream = forge.achat_completion_stream(request.messages, given, model=model)
        async with contextlib.aclosing(stream) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                pieces.append(chunk)
                if on_text is not None and (text := chunk_text(chunk)):
                    on_text(text)
        return _message(pieces)

    return await arun(loop, ask, approve=approve, observe=observe)


def plugin_tools(forge: LlamaForge) -> list[Tool]:
    """The forge's enabled tool plugins as tools."""
    found = []
    for schema in forge.plugins.tool_schemas():
        function = schema["function"]
        found.append(
            Tool(function["name"], function["description"], function["parameters"], _use(forge, function["name"]))
        )
    return found


def _use(forge: LlamaForge, name: str) -> Callable[..., Any]:
    return lambda **arguments: forge.use_tool(name, arguments)


def _resolved(forge: LlamaForge, tools: Iterable[Source]) -> list[Tool | Callable[..., Any]]:
    found: list[Tool | Callable[..., Any]] = []
    for tool in tools:
        if tool == "plugins":
            found.extend(plugin_tools(forge))
        elif not isinstance(tool, str):
            found.append(tool)
    return found


def _asked(request: Request[Json]) -> Json:
    if not request.tools:
        return {}
    return {"tools": request.tools} | ({} if request.may_call else {"tool_choice": "none"})


def _message(chunks: list[Json]) -> Json:
    message: Json = whole(chunks)["choices"][0]["message"]
    return message
