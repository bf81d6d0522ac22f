"""The stage that tells a model of skills: what there is to be read where it can call tools, else the skills themselves."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Final

from msgspec.structs import replace

from open_webui.chat.context.stage import Services, StageContext
from open_webui.chat.context.tools import is_offered
from open_webui.chat.request import ApiRequest
from open_webui.chat.turn import Draft, Turn, skill_ids
from open_webui.connections.base import Target
from open_webui.connections.params import behind_system
from open_webui.errors import NotFound
from open_webui.models import skills as stored
from open_webui.models.skills import Skill
from open_webui.principal import Principal
from open_webui.services import skill_files, skill_limits

GONE: Final = (
    "The skill '{}' can't be used: it is not there any more, it was switched off, or it isn't shared with you."
)
READ_ON: Final = "[This is the beginning. Read on with read_skill_file: path '{}', offset {}.]"
LEFT_OUT: Final = "[The last {} characters of these instructions are left out here.]"


async def skills(turn: Turn, draft: Draft, context: StageContext) -> Draft:
    """The draft with the skills that the page chose and those that come with the model; as it is where there are none.

    Raises NotFound where one that was chosen can't be used; one of the model's is left out then.
    """
    services = context.services
    found = await _usable(services, turn.principal, turn.request.skill_ids, turn.target)
    if not found:
        return draft
    limits = skill_limits.reading(services.config)
    whole = texts(found.values(), limits.at_once)
    if not _can_read(turn, context):
        return replace(draft, messages=tuple(behind_system(whole, draft.messages)))
    named = manifest(found.values())
    if not services.config["skills.lazy_loading.enable"]:
        named = texts(found.values(), limits.at_once, limits.preview)
    messages = behind_system(named, draft.messages)
    return replace(draft, messages=tuple(messages), skills=(named, whole))


async def for_api(services: Services, principal: Principal, request: ApiRequest, target: Target) -> ApiRequest:
    """An API client's request with the skills in it: the server runs no built-in tools for clients. Raises NotFound."""
    messages = request.payload.get("messages")
    found = await _usable(services, principal, request.skill_ids, target)
    if not found or not isinstance(messages, list):
        return request
    told = texts(found.values(), skill_limits.reading(services.config).at_once)
    payload = request.payload | {"messages": behind_system(told, messages)}
    return replace(request, payload=payload)


async def _usable(services: Services, principal: Principal, chosen: Sequence[str], target: Target) -> dict[str, Skill]:
    """The skills that may be used, by their ids. Raises NotFound for one that was chosen and is not among them."""
    ids = skill_ids(chosen, target)
    if not ids:
        return {}
    async with services.database.read() as connection:
        found = await stored.usable(connection, principal, ids)
    for one in chosen:
        if one not in found:
            raise NotFound(GONE.format(one[:100]))
    return found


def _can_read(turn: Turn, context: StageContext) -> bool:
    """Whether the model gets the tool that reads skills."""
    entry, chosen = turn.target.entry, turn.target.meta.get("builtinTools")
    if isinstance(chosen, dict) and chosen.get("skills") is False:
        return False
    return is_offered(turn, context.services.config) and not context.services.toolbox().refuses(
        entry.connection, entry.remote_id
    )


def spelled_out(draft: Draft) -> Draft:
    """The draft for a model that takes no tools after all: the skills themselves instead of their names."""
    if draft.skills is None or not draft.messages:
        return draft
    named, whole = draft.skills
    first: dict[str, Any] = draft.messages[0]
    if not isinstance(first.get("content"), str):
        return draft
    told = first | {"content": first["content"].replace(named, whole, 1)}
    return replace(draft, messages=(told, *draft.messages[1:]), skills=None)


def manifest(rows: Iterable[Skill]) -> str:
    """What a model is told of skills that it may read."""
    lines = [
        f"<skill>\n<id>{_plain(row.id)}</id>\n<name>{_plain(row.name)}</name>\n"
        f"<description>{_plain(row.description or '')}</description>\n</skill>"
        for row in rows
    ]
    return "\n".join(["<available_skills>", *lines, "</available_skills>"])


def texts(rows: Iterable[Skill], at_once: int, preview: int | None = None) -> str:
    """The skills themselves. at_once: characters of the longest text that is told whole. preview: of a longer one, as much as
    this, where the model can read on; without it, as much as is told whole.
    """
    lines = [
        f"<skill>\n<id>{_plain(row.id)}</id>\n<name>{_plain(row.name)}</name>\n"
        f"<content>\n{_told(row.content.strip(), at_once, preview)}\n</content>\n</skill>"
        for row in rows
    ]
    return "\n".join(["<skills>", *lines, "</skills>"])


def _told(text: str, at_once: int, preview: int | None) -> str:
    if len(text) <= at_once:
        return text
    if preview is None:
        return f"{text[:at_once]}\n{LEFT_OUT.format(len(text) - at_once)}"
    return f"{text[:preview]}\n{READ_ON.format(skill_files.MAIN, preview)}"


def _plain(text: str) -> str:
    """A text on one line that ends no tag."""
    return escape(" ".join(text.split()), quote=False)
