"""Tools as people keep them: made, changed, shared, set and moved, with every rule on who may. Nothing here runs one."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.models import tools, user_valves
from open_webui.models.repository import MAX_PAGE_SIZE, Page, Query
from open_webui.models.tools import KIND, Tool, ToolRow
from open_webui.plugins.text import PluginText
from open_webui.principal import Principal
from open_webui.schemas.plugins import ToolForm
from open_webui.services import plugins
from open_webui.services import versions as history
from open_webui.services.plugins import Deps, Wire

# Either permission lets somebody bring code along: making a tool and importing one are the same.
WRITING: Final = ("workspace.tools", "workspace.tools_import")
UNKNOWN: Final = "Tool not found"
NO_FORM: Final = "Nothing can be set of this tool."


def may_write_code(principal: Principal) -> bool:
    """Whether somebody may have the server keep Python of theirs: for making, changing, importing and restoring alike."""
    return any(principal.may(permission) for permission in WRITING)


def check_writing(principal: Principal) -> None:
    """Raises the bare marker that pages know."""
    if not may_write_code(principal):
        raise Forbidden(constants.UNAUTHORIZED)


# On the wire


def _shown(row: ToolRow, **more: Any) -> Wire:
    """A tool without its text."""
    wire = {
        "version_id": row.version_id,
        "id": row.id,
        "user_id": row.user_id,
        "name": row.name,
        "meta": row.meta,
        "access_grants": list(row.access_grants),
        "updated_at": row.updated_at,
        "created_at": row.created_at,
    }
    return wire | more


def _whole(row: Tool) -> Wire:
    return _shown(row, content=row.content, specs=row.specs)


# Reading


async def listed(deps: Deps, principal: Principal, query: str | None) -> list[Wire]:
    """Those that somebody may use."""
    page = await _page(deps, principal, Query(text=query, size=MAX_PAGE_SIZE))
    return [
        _shown(
            row,
            user=page.owners.get(row.user_id),
            content=None,
            specs=row.specs,
            has_user_valves=row.meta.get("has_user_valves") is True,
        )
        for row in page.items
    ]


async def workspace(deps: Deps, principal: Principal) -> list[Wire]:
    """The same for the workspace, with whether they may be changed."""
    page = await _page(deps, principal, Query(size=MAX_PAGE_SIZE))
    return [
        _shown(
            row,
            user=page.owners.get(row.user_id),
            write_access=tools.brief.may(row, principal, "write"),
            content=None,
            specs=row.specs,
        )
        for row in page.items
    ]


async def _page(deps: Deps, principal: Principal, query: Query) -> Page[ToolRow]:
    async with deps.database.read() as connection:
        return await tools.brief.page(connection, principal, query)


async def exported(deps: Deps, principal: Principal) -> list[Wire]:
    """Those that somebody may change, whole. Raises the bare marker that pages know."""
    if not principal.may("workspace.tools_export"):
        raise Forbidden(constants.UNAUTHORIZED)
    async with deps.database.read() as connection:
        rows = await tools.repository.all(connection, tools.repository.writable_by(principal))
    return [_whole(row) for row in rows]


async def get(deps: Deps, principal: Principal, tool_id: str) -> Wire:
    """One tool; its text is for those who may change it."""
    row = await _one(deps, principal, tool_id)
    writes = tools.repository.may(row, principal, "write")
    return _shown(row, user=None, write_access=writes, content=row.content if writes else None, specs=row.specs)


async def specs(deps: Deps, principal: Principal, tool_id: str) -> list[Any]:
    """What models are told of it."""
    return (await _one(deps, principal, tool_id, unknown=NotFound(UNKNOWN))).specs


async def _one(
    deps: Deps, principal: Principal, tool_id: str, action: Any = "read", *, unknown: NotFound | None = None
) -> Tool:
    """A tool. Raises NotFound, Forbidden."""
    async with deps.database.read() as connection:
        row = await tools.repository.get(connection, tool_id)
    if row is None:
        raise unknown or NotFound
    if not tools.repository.may(row, principal, action):
        raise Forbidden
    return row


# Writing


def _values(form: ToolForm, text: PluginText) -> Wire:
    return columns(form.name, form.content, plugins.told(form), text)


def columns(name: str, content: str, meta: Mapping[str, Any], text: PluginText) -> Wire:
    """The row of a plugin with this text."""
    derived = {"manifest": text.manifest, "has_user_valves": text.members.has_user_valves}
    described = {"i18n": meta.get("i18n"), "description": meta.get("description")} | dict(meta)
    return {"name": name, "content": content, "meta": described | derived, "specs": list(text.specs)}


def _snapshot(values: Mapping[str, Any]) -> Wire:
    return plugins.snapshot(values["name"], values["content"], values["meta"])


async def create(deps: Deps, principal: Principal, form: ToolForm) -> Wire:
    """A new tool. Grants that the caller may not give are left out."""
    check_writing(principal)
    plugins.check_id(form.id)
    values = _values(form, await plugins.read(deps, form.content, tool=True))
    async with deps.database.write() as unit:
        made = await tools.repository.create(unit.connection, principal.id, values, row_id=form.id)
        if made is None:
            raise BadRequest(plugins.TAKEN)
        version_id = await history.record(
            unit.connection, KIND, form.id, _snapshot(values), user_id=principal.id, message=form.commit_message
        )
        await tools.repository.change(unit.connection, form.id, {"version_id": version_id})
        await tools.repository.set_grants(unit.connection, principal, form.id, form.access_grants or (), strict=False)
        return _shown(await _stored(unit.connection, form.id))


async def update(deps: Deps, principal: Principal, tool_id: str, form: ToolForm) -> Wire:
    """Replaces a tool. Grants that the caller may not give are left out."""
    check_writing(principal)
    await _one(deps, principal, tool_id, "write", unknown=NotFound(status=401))
    values = _values(form, await plugins.read(deps, form.content, tool=True))
    async with deps.database.write() as unit:
        row = await _writable(unit.connection, principal, tool_id)
        version_id = await history.record(
            unit.connection, KIND, tool_id, _snapshot(values), user_id=principal.id, current=row.version_id,
            message=form.commit_message,
        )  # fmt: skip
        await tools.repository.change(unit.connection, tool_id, values | {"version_id": version_id})
        if form.access_grants is not None:
            await tools.repository.set_grants(unit.connection, principal, tool_id, form.access_grants, strict=False)
        return _whole(await _stored(unit.connection, tool_id))


async def set_access(deps: Deps, principal: Principal, tool_id: str, given: Sequence[Mapping[str, Any]]) -> Wire:
    """Replaces the grants on a tool. Raises Forbidden (403) when a new one is not the caller's to give."""
    async with deps.database.write() as unit:
        await _writable(unit.connection, principal, tool_id)
        await tools.repository.set_grants(unit.connection, principal, tool_id, given, strict=True)
        return _whole(await _stored(unit.connection, tool_id))


async def delete(deps: Deps, principal: Principal, tool_id: str) -> bool:
    async with deps.database.write() as unit:
        await _writable(unit.connection, principal, tool_id)
        await tools.repository.delete(unit.connection, [tool_id])
    return True


async def _writable(connection: AsyncConnection, principal: Principal, tool_id: str) -> Tool:
    return await tools.repository.require(connection, principal, tool_id, "write", missing=401, lock=True)


async def _stored(connection: AsyncConnection, tool_id: str) -> Tool:
    row = await tools.repository.get(connection, tool_id)
    if row is None:
        raise NotFound
    return row


# Its history: a version holds the text, so that it is for those who may change the tool


async def versions_of(deps: Deps, principal: Principal, tool_id: str, page: int) -> list[Wire]:
    async with deps.database.read() as connection:
        await _with_history(connection, principal, tool_id)
        return await history.page(connection, KIND, tool_id, page)


async def version(deps: Deps, principal: Principal, tool_id: str, version_id: str) -> Wire:
    async with deps.database.read() as connection:
        await _with_history(connection, principal, tool_id)
        return await history.entry(connection, KIND, tool_id, version_id)


async def difference(deps: Deps, principal: Principal, tool_id: str, from_id: str, to_id: str) -> Wire:
    async with deps.database.read() as connection:
        await _with_history(connection, principal, tool_id)
        both = [await history.require(connection, KIND, tool_id, one) for one in (from_id, to_id)]
    return await history.difference(deps.sources, *both)


async def _with_history(connection: AsyncConnection, principal: Principal, tool_id: str) -> None:
    row = await tools.brief.get(connection, tool_id)
    if row is None:
        raise NotFound(history.NOT_FOUND)
    if not tools.brief.may(row, principal, "write"):
        raise Forbidden


async def remove_version(deps: Deps, principal: Principal, tool_id: str, version_id: str) -> bool:
    async with deps.database.write() as unit:
        row = await tools.brief.require(unit.connection, principal, tool_id, "write", lock=True)
        return await history.remove(unit.connection, KIND, tool_id, version_id, row.version_id)


async def set_version(deps: Deps, principal: Principal, tool_id: str, version_id: str) -> Wire:
    """Brings a version back: text, name and description. It is the code that is used from now on, as if it were written."""
    check_writing(principal)
    async with deps.database.read() as connection:
        await _with_history(connection, principal, tool_id)
        wanted = (await history.require(connection, KIND, tool_id, version_id)).snapshot
    text = await plugins.read(deps, wanted["content"], tool=True)
    values = columns(wanted["name"], wanted["content"], wanted["meta"], text)
    async with deps.database.write() as unit:
        await _writable(unit.connection, principal, tool_id)
        await history.require(unit.connection, KIND, tool_id, version_id)
        await tools.repository.change(unit.connection, tool_id, values | {"version_id": version_id})
        return _whole(await _stored(unit.connection, tool_id))


# What is set of it


async def valves(deps: Deps, principal: Principal, tool_id: str) -> Wire:
    """What is set of a tool, for those who may change it: keys of services stand in it."""
    row = await _one(deps, principal, tool_id, "write")
    return plugins.unseal(deps, KIND, tool_id, row.valves)


async def valves_form(deps: Deps, principal: Principal, tool_id: str) -> Wire | None:
    """The form of that. Defaults stand in it, which are part of the text."""
    row = await _one(deps, principal, tool_id, "write")
    return (await deps.sources.read(row.content)).valves


async def set_valves(deps: Deps, principal: Principal, tool_id: str, values: Wire) -> Wire:
    row = await _one(deps, principal, tool_id, "write", unknown=NotFound(status=401))
    checked = await deps.sources.check(row.content, "Valves", values)
    async with deps.database.write() as unit:
        await _writable(unit.connection, principal, tool_id)
        sealed = plugins.seal(deps, KIND, tool_id, checked)
        await tools.repository.change(unit.connection, tool_id, {"valves": sealed})
    return checked


async def own_valves(deps: Deps, principal: Principal, tool_id: str) -> Wire:
    """What somebody set of a tool for themselves."""
    await _one(deps, principal, tool_id)
    async with deps.database.read() as connection:
        sealed = await user_valves.get(connection, KIND, tool_id, principal.id)
    return plugins.unseal(deps, KIND, tool_id, sealed, principal.id)


async def own_valves_form(deps: Deps, principal: Principal, tool_id: str) -> Wire | None:
    """The form of that."""
    row = await _one(deps, principal, tool_id)
    return (await deps.sources.read(row.content)).user_valves


async def set_own_valves(deps: Deps, principal: Principal, tool_id: str, values: Wire) -> Wire:
    if not principal.may("chat.valves"):
        raise Forbidden
    row = await _one(deps, principal, tool_id)
    checked = await deps.sources.check(row.content, "UserValves", values)
    async with deps.database.write() as unit:
        await tools.brief.require(unit.connection, principal, tool_id, lock=True)
        sealed = plugins.seal(deps, KIND, tool_id, checked, principal.id)
        await user_valves.put(unit.connection, KIND, tool_id, principal.id, sealed)
    return checked
