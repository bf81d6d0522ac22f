"""What MCP clients get as prompts: one's own prompts, skills, and the prompts of MCP servers, all that somebody may use."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from open_webui.errors import BadRequest, OuiError
from open_webui.models import skills
from open_webui.models.repository import MAX_PAGE_SIZE, Query
from open_webui.principal import Principal
from open_webui.services import mcp_offers
from open_webui.services.mcp_endpoint.messages import BAD_PARAMS, Problem, Wire, word
from open_webui.services.mcp_endpoint.own_prompts import OwnPrompts
from open_webui.services.mcp_endpoint.own_tools import Deps
from open_webui.services.mcp_endpoint.prompt_sources import Argument, Prompt, Source, Texts
from open_webui.services.mcp_servers import At
from open_webui.tools.openapi import tool_name

# Characters of an argument, and how many there may be.
_LONGEST: Final = 10_000
_MOST: Final = 50


class SkillPrompts(Texts):
    """Skills that are switched on, by their ids: a client gives one to its model by hand."""

    async def listed(self, deps: Deps, principal: Principal) -> Sequence[Prompt]:
        """See `Source`."""
        async with deps.database.read() as connection:
            page = await skills.brief.page(connection, principal, Query(size=MAX_PAGE_SIZE))
        return [Prompt(name=s.id, title=s.name, description=s.description or "") for s in page.items if s.is_active]

    async def find(self, deps: Deps, principal: Principal, name: str) -> Prompt | None:
        """See `Texts`."""
        async with deps.database.read() as connection:
            found = await skills.usable(connection, principal, [name])
        if (skill := found.get(name)) is None:
            return None
        return Prompt(name=skill.id, title=skill.name, description=skill.description or "", text=skill.content)


class ServerPrompts:
    """Prompts of MCP servers, as tools of theirs are called: the server's id, `_`, and the prompt's own name."""

    async def listed(self, deps: Deps, principal: Principal) -> Sequence[Prompt]:
        """See `Source`. A server that is away has none."""
        lists = await asyncio.gather(*(_prompts_at(at) for at in mcp_offers.servers(deps, principal)))
        return [_prompt(one) for found in lists for one in found]

    async def said(self, deps: Deps, principal: Principal, name: str, arguments: dict[str, str]) -> Wire | None:
        """See `Source`."""
        at, own = await self._found(deps, principal, name)
        if at is None:
            return None
        said = await mcp_offers.in_time(mcp_offers.filled(at, own, arguments))
        return {key: said[key] for key in ("description", "messages") if key in said}

    async def values(
        self, deps: Deps, principal: Principal, name: str, about: tuple[str, str], context: dict[str, str]
    ) -> tuple[list[str], bool] | None:
        """See `Source`."""
        at, own = await self._found(deps, principal, name)
        if at is None:
            return None
        found: tuple[list[str], bool] = await mcp_offers.in_time(mcp_offers.values(at, "prompt", own, *about, context))
        return found

    async def _found(self, deps: Deps, principal: Principal, name: str) -> tuple[At | None, str]:
        """The server whose prompt has a name here, and the name that it has there.

        Raises OuiError where a server whose it may be is away: that is another thing than that there is no such prompt.
        """
        away: OuiError | None = None
        for at in mcp_offers.servers(deps, principal):
            if not name.startswith(tool_name(at.server.id)):
                continue
            try:
                found: list[Wire] = await mcp_offers.in_time(mcp_offers.prompts_at(at), mcp_offers.SECONDS)
            except OuiError as error:
                away = error
                continue
            for one in found:
                if one["command"] == name:
                    return at, one["name"]
        if away is not None:
            raise away
        return None, ""


async def _prompts_at(at: At) -> list[Wire]:
    try:
        found: list[Wire] = await mcp_offers.in_time(mcp_offers.prompts_at(at), mcp_offers.SECONDS)
    except OuiError:
        return []
    return found


def _prompt(one: Mapping[str, Any]) -> Prompt:
    return Prompt(
        name=one["command"],
        title=one.get("title") or one["name"],
        description=one.get("description") or "",
        arguments=tuple(Argument(**argument) for argument in one["arguments"]),
    )


# Of two prompts with one name the first counts.
SOURCES: Final[tuple[Source, ...]] = (OwnPrompts(), SkillPrompts(), ServerPrompts())


async def listed(deps: Deps, principal: Principal) -> list[Wire]:
    """All prompts of somebody, as the protocol describes them."""
    found: dict[str, Wire] = {}
    for source in SOURCES:
        for prompt in await source.listed(deps, principal):
            found.setdefault(prompt.name, _wire(prompt))
    return list(found.values())


def _wire(prompt: Prompt) -> Wire:
    arguments = [{"name": a.name, "description": a.description, "required": a.required} for a in prompt.arguments]
    return {
        "name": prompt.name,
        "title": prompt.title,
        # Clients show it as it is, and some want one.
        "description": prompt.description or prompt.title,
        "arguments": arguments,
    }


async def get(deps: Deps, principal: Principal, params: Wire) -> Wire:
    """One with its arguments. Raises Problem, OuiError."""
    name, arguments = word(params, "name"), _texts(params.get("arguments"), "arguments")
    try:
        for source in SOURCES if name.isprintable() else ():
            if (said := await source.said(deps, principal, name, arguments)) is not None:
                return said
    except BadRequest as error:
        raise Problem(BAD_PARAMS, error.detail) from None
    raise Problem(BAD_PARAMS, f"Unknown prompt: {name[:200]}")


async def values(
    deps: Deps, principal: Principal, name: str, about: tuple[str, str], context: Any
) -> tuple[list[str], bool]:
    """What an argument of a prompt may be, and whether there is more. Raises Problem, OuiError."""
    others = _texts(context.get("arguments") if isinstance(context, dict) else context, "context.arguments")
    for source in SOURCES if name.isprintable() else ():
        found = await source.values(deps, principal, name, about, others)
        if found is not None:
            return found
    raise Problem(BAD_PARAMS, f"Unknown prompt: {name[:200]}")


def _texts(given: Any, what: str) -> dict[str, str]:
    """Names and texts. Raises Problem."""
    texts = {} if given is None else given
    is_so = isinstance(texts, dict) and len(texts) <= _MOST
    if not is_so or not all(isinstance(v, str) and len(k) <= 200 and len(v) <= _LONGEST for k, v in texts.items()):
        raise Problem(
            BAD_PARAMS, f"`{what}` should be an object with at most {_MOST} texts of {_LONGEST:,} characters."
        )
    return dict(texts)
