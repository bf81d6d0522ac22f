"""The stage that gives a model the tools which it may call."""

import importlib
from typing import Any, Final

import msgspec

from open_webui.chat.context.stage import StageContext
from open_webui.chat.long_results import READER, mentions
from open_webui.chat.turn import Draft, Turn
from open_webui.config import Config
from open_webui.tools.port import Asked

_THERE: Final = "The person put these files on the terminal, where you can read them with its tools:"
_MOST_PATHS: Final = 100
_LONGEST_PATH: Final = 1_000


async def tools(turn: Turn, draft: Draft, context: StageContext) -> Draft:
    """The draft with the tools that the page chose, those that come with the model, and those that are there for every model;
    as it is where there are none.

    Raises OuiError where one that was chosen can't be used.
    """
    wanted = msgspec.structs.replace(asked(turn, draft, context.services.config), tell=context.add_status)
    if not is_legacy(turn) and mentions(draft.messages):
        draft = await with_reader(turn, draft, context)
    has_chosen = bool(wanted.ids or wanted.servers or wanted.terminal_id)
    if not has_chosen and not wanted.wants_builtin:
        return draft
    toolbox, entry = context.services.toolbox(), turn.target.entry
    chosen = await toolbox.tools(wanted) if has_chosen else {}
    if wanted.terminal_id and chosen:
        about = "\n\n".join(text for text in (await toolbox.about(wanted), _put_there(turn)) if text)
        draft = msgspec.structs.replace(draft, messages=_with(about, draft.messages)) if about else draft
    offered = {}
    if wanted.wants_builtin and not toolbox.refuses(entry.connection, entry.remote_id):
        offered = await toolbox.offered(wanted)
    all_tools = {**offered, **draft.tools, **chosen}
    unasked = frozenset(all_tools) - chosen.keys() - draft.tools.keys()
    found = msgspec.structs.replace(draft, tools=all_tools, offered=draft.offered | unasked)
    if not is_legacy(turn) or not all_tools:
        return found
    # Not needed to start.
    prompted: Any = importlib.import_module("open_webui.chat.prompted_tools")
    made: Draft = await prompted.with_results(turn, found, context)
    return made


async def with_reader(turn: Turn, draft: Draft, context: StageContext) -> Draft:
    """The draft with the tool that reads long results on."""
    if READER in draft.tools:
        return draft
    wanted = asked(turn, draft, context.services.config)
    wanted = msgspec.structs.replace(wanted, wants_builtin=False, needed=frozenset({READER}))
    reader = await context.services.toolbox().offered(wanted)
    offered = draft.offered.union(reader)
    return msgspec.structs.replace(draft, tools={**reader, **draft.tools}, offered=offered)


def is_legacy(turn: Turn) -> bool:
    """Whether the model is asked in plain words what to call, as the chat, the question or the model's settings say."""
    said = turn.params.get("function_calling") or turn.target.params.get("function_calling")
    return bool(said == "legacy")


def _put_there(turn: Turn) -> str:
    """Which files of the question lie on the terminal; empty where none does."""
    entries = [file for file in turn.request.files if file.get("type") == "filesystem"]
    paths = [path[:_LONGEST_PATH] for file in entries[:_MOST_PATHS] if isinstance(path := file.get("path"), str)]
    return "\n".join([_THERE, *(f"- {path}" for path in dict.fromkeys(paths))]) if paths else ""


def _with(about: str, messages: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """The messages with a text behind the system prompt."""
    first = messages[0] if messages else {}
    if first.get("role") == "system" and isinstance(first.get("content"), str):
        return ({**first, "content": f"{first['content']}\n\n{about}"}, *messages[1:])
    return ({"role": "system", "content": about}, *messages)


def is_offered(turn: Turn, config: Config) -> bool:
    """Whether the model gets tools that nobody chose. One that this machine runs gets them where its settings say so: their
    descriptions are a lot to read for it.
    """
    capabilities = turn.target.meta.get("capabilities")
    said = capabilities.get("builtin_tools") if isinstance(capabilities, dict) else None
    if not config["tools.builtin.enable"] or is_legacy(turn):
        return False
    if turn.target.entry.kind == "local" or not turn.target.entry.answers_tasks:
        return said is True
    return said is not False


def asked(turn: Turn, draft: Draft, config: Config) -> Asked:
    """What an answer wants of tools."""
    request, meta = turn.request, turn.target.meta
    of_model = meta.get("toolIds")
    is_own = turn.owner_id == turn.principal.id
    brought = [i for i in of_model if isinstance(i, str)] if isinstance(of_model, list) else []
    return Asked(
        principal=turn.principal,
        ids=tuple(dict.fromkeys([*request.tool_ids, *brought])),
        brought=frozenset(brought) - frozenset(request.tool_ids),
        messages=draft.messages,
        servers=tuple(request.tool_servers),
        # What a plugin does for the asker's memories is withheld in somebody else's chat as built-in tools are.
        features=request.features if is_own else request.features - {"memory"},
        model_id=turn.target.model_id,
        meta=meta,
        session_id=turn.session_id,
        chat_id=None if turn.is_temporary else turn.chat_id,
        message_id=None if turn.is_temporary else turn.message_id,
        is_own=is_own,
        folder_id=turn.folder_id,
        files=tuple(request.files),
        is_native=not is_legacy(turn),
        wants_builtin=is_offered(turn, config),
        terminal_id=request.terminal_id,
        skills=turn.skill_ids,
    )
