"""Tools for models that call none: one is asked in plain words what should be called, and the results stand with the question."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from open_webui.chat import prompts, side
from open_webui.chat.approval import Approval
from open_webui.chat.context.stage import StageContext
from open_webui.chat.long_results import LongResults
from open_webui.chat.prompted_calls import RESULTS, TOOLS, Result, calls_of, described, shown
from open_webui.chat.tools import run_calls
from open_webui.chat.turn import Draft, Turn
from open_webui.errors import OuiError
from open_webui.internal.log import get_logger
from open_webui.tools.port import Tool, ToolResult

log = get_logger(__name__)
# Characters of all results that go to the model; each has its share.
MOST_CHARS: Final = 60_000
UNASKED: Final = (
    "No tools were called: this model can't be asked which ones. An administrator can set a task model for that."
)
_ACTION: Final = "tools"


async def with_results(turn: Turn, draft: Draft, context: StageContext) -> Draft:
    """The draft with what its tools gave for the question, and without the tools.

    What goes wrong is a status of the answer: the model answers then with what it has.
    """
    without = replace(draft, tools={}, offered=frozenset())
    said = await _choice(turn, draft, context)
    calls = calls_of(said)
    if not calls:
        return without
    names = ", ".join(dict.fromkeys(call.name[:100] for call in calls))
    await context.add_status({"action": _ACTION, "description": f"Calling {names}", "done": False})
    keep = LongResults(context.pictures, MOST_CHARS // len(calls), is_stored=not turn.is_temporary)
    results = await run_calls(calls, draft.tools, context, approval=Approval.of(turn, context.services), keep=keep)
    told = [
        await _cited(call.name, msgspec.json.decode(call.arguments), result, draft.tools, context)
        for call, (_, result) in zip(calls, results, strict=True)
    ]
    failed = all(result.failed for _, result in results)
    await context.add_status({"action": _ACTION, "description": f"Called {names}", "done": True, "error": failed})
    return replace(without, messages=_before_question(draft.messages, RESULTS.replace("{{RESULTS}}", shown(told))))


async def _choice(turn: Turn, draft: Draft, context: StageContext) -> str:
    """What a model says about the tools that should be called; nothing where it can't be asked."""
    services = context.services
    model = side.task_model(services.config, services.gate.models, turn.target)
    if not model.entry.answers_tasks:
        await context.add_status({"action": _ACTION, "description": UNASKED, "done": True, "error": True})
        return ""
    prompt = _prompt(services.config["task.tools.prompt_template"].strip() or TOOLS, turn, draft.tools)
    fields: dict[str, Any] = {"max_tokens": side.TOKENS}
    if model.entry.kind == "local":
        fields["chat_template_kwargs"] = {"enable_thinking": False}
    try:
        async with asyncio.timeout(side.SECONDS):
            answer = await side.ask(
                services.gate,
                turn.principal,
                model,
                prompt,
                fields=fields | (services.config["task.model.params"] or {}),
            )
    except (OuiError, TimeoutError) as error:
        why = error.detail if isinstance(error, OuiError) else f"It took longer than {side.SECONDS:g} seconds."
        log.info("no model said which tools should be called", model=model.model_id, detail=why)
        description = f"No tools were called: the model could not be asked which ones. {why}"
        await context.add_status({"action": _ACTION, "description": description, "done": True, "error": True})
        return ""
    return answer.content or ""


def _prompt(template: str, turn: Turn, tools: Mapping[str, Tool]) -> str:
    """The template filled in. One that has no place for the tools or the conversation gets them behind it."""
    listed = described(tool.definition for tool in tools.values())
    if "{{TOOLS}}" not in template:
        template += "\n\n{{TOOLS}}"
    if "{{MESSAGES" not in template and "{{prompt" not in template:
        template += "\n\n<conversation>\n{{MESSAGES:END:6}}\n</conversation>"
    # What people wrote is put in last: it may hold the name of a place.
    parts = template.split("{{TOOLS}}")
    conversation = side.conversation(turn.history)
    return listed.join(prompts.fill(part, conversation, turn.question, turn.principal.name) for part in parts)


async def _cited(
    name: str, arguments: Any, result: ToolResult, tools: Mapping[str, Tool], context: StageContext
) -> Result:
    """What a call gave, shown to the person: a source that the answer can cite, files, pages."""
    if result.files:
        await context.emit("files", {"files": list(result.files)})
    if result.embeds:
        await context.emit("embeds", {"embeds": list(result.embeds)})
    if result.failed or result.embeds or name not in tools:
        return Result(name, result.text, None, result.failed)
    source = {
        "source": {"name": name},
        "document": [result.text],
        "metadata": [{"source": name, "parameters": arguments}],
        "tool_result": True,
    }
    numbers = await context.add_source(source)
    return Result(name, result.text, numbers[-1] if numbers else None, failed=False)


def _before_question(messages: Sequence[dict[str, Any]], text: str) -> tuple[dict[str, Any], ...]:
    """The messages with a text in front of the last question's own."""
    out = list(messages)
    at = next((n for n in range(len(out) - 1, -1, -1) if out[n].get("role") == "user"), None)
    if at is None:
        return (*out, {"role": "user", "content": text})
    content = out[at].get("content")
    if isinstance(content, list):
        fresh: Any = [{"type": "text", "text": text}, *content]
    else:
        fresh = f"{text}\n\n{content}" if content else text
    out[at] = out[at] | {"content": fresh}
    return tuple(out)
