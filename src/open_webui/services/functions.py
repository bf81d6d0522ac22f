"""Functions as admins keep them: made, changed, switched and set; and which of them take part where. Nothing here runs one."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.models import functions, user_valves
from open_webui.models.functions import KIND, Function, FunctionRow
from open_webui.models.repository import owners_of
from open_webui.plugins.text import PluginText
from open_webui.principal import Principal
from open_webui.schemas.plugins import PluginForm, SyncedFunction
from open_webui.services import plugins
from open_webui.services import versions as history
from open_webui.services.plugins import Deps, Wire

MAX_PRIORITY = 2**31


# On the wire


def _shown(row: FunctionRow, **more: Any) -> Wire:
    """A function without its text."""
    return {
        "version_id": row.version_id,
        "id": row.id,
        "user_id": row.user_id,
        "type": row.type,
        "name": row.name,
        "meta": row.meta,
        "is_active": row.is_active,
        "is_global": row.is_global,
        "updated_at": row.updated_at,
        "created_at": row.created_at,
    } | more


def _whole(row: Function) -> Wire:
    return _shown(row, content=row.content)


# Reading


async def listed(deps: Deps, principal: Principal) -> list[Wire]:
    """All, for admins; for others those that are switched on."""
    async with deps.database.read() as connection:
        return [_shown(row) for row in await functions.listed(connection, principal)]


async def listed_with_owners(deps: Deps, principal: Principal) -> list[Wire]:
    async with deps.database.read() as connection:
        rows = await functions.listed(connection, principal)
        owners = await owners_of(connection, principal, [row for row in rows if row.user_id is not None])
    return [_shown(row, user=owners.get(row.user_id or "")) for row in rows]


async def exported(deps: Deps, *, with_valves: bool) -> list[Wire]:
    """All of them, whole. with_valves: with what is set of them, keys of services included."""
    async with deps.database.read() as connection:
        rows = await functions.repository.all(connection)
    return [_whole(row) | ({"valves": _opened(deps, row)} if with_valves else {}) for row in rows]


def _opened(deps: Deps, row: Function) -> Wire | None:
    return None if row.valves is None else plugins.unseal(deps, KIND, row.id, row.valves)


async def get(deps: Deps, function_id: str) -> Wire:
    return _whole(await _one(deps, function_id))


async def _one(deps: Deps, function_id: str) -> Function:
    """Raises NotFound, with 401."""
    async with deps.database.read() as connection:
        row: Function | None = await functions.repository.get(connection, function_id)
    if row is None:
        raise NotFound(status=401)
    return row


async def _locked(connection: AsyncConnection, function_id: str) -> Function:
    row: Function | None = await functions.repository.get(connection, function_id, lock=True)
    if row is None:
        raise NotFound(status=401)
    return row


async def _stored(connection: AsyncConnection, function_id: str) -> Function:
    row: Function | None = await functions.repository.get(connection, function_id)
    if row is None:
        raise NotFound
    return row


# Writing


def columns(name: str, content: str, meta: Mapping[str, Any], text: PluginText) -> Wire:
    """The row of a plugin with this text."""
    derived = {"manifest": text.manifest, "toggle": text.members.toggle}
    return {
        "name": name,
        "content": content,
        "type": text.kind,
        "meta": {"description": meta.get("description")} | dict(meta) | derived,
        "members": msgspec.to_builtins(text.members),
    }


def _snapshot(values: Mapping[str, Any]) -> Wire:
    return plugins.snapshot(values["name"], values["content"], values["meta"])


def priority_of(text: PluginText | None, values: Wire, default: int = 0) -> int:
    """Of a filter: what is set of it, or what its text says."""
    priority = values.get("priority", text.members.priority if text is not None else default)
    fits = isinstance(priority, int) and not isinstance(priority, bool) and abs(priority) < MAX_PRIORITY
    return priority if fits else 0


async def create(deps: Deps, principal: Principal, form: PluginForm) -> Wire:
    """A new function, switched off."""
    plugins.check_id(form.id)
    text = await plugins.read(deps, form.content, tool=False)
    values = columns(form.name, form.content, plugins.told(form), text)
    async with deps.database.write() as unit:
        row = await _insert(unit.connection, principal, form, values | {"priority": priority_of(text, {})})
    if row is None:
        raise BadRequest(plugins.TAKEN)
    return _shown(row)


async def _insert(connection: AsyncConnection, principal: Principal, form: PluginForm, values: Wire) -> Function | None:
    """None: the id is taken."""
    if await functions.repository.create(connection, principal.id, values, row_id=form.id) is None:
        return None
    version_id = await history.record(
        connection, KIND, form.id, _snapshot(values), user_id=principal.id, message=form.commit_message
    )
    await functions.repository.change(connection, form.id, {"version_id": version_id})
    return await _stored(connection, form.id)


async def update(deps: Deps, principal: Principal, function_id: str, form: PluginForm) -> Wire:
    await _one(deps, function_id)
    text = await plugins.read(deps, form.content, tool=False)
    values = columns(form.name, form.content, plugins.told(form), text)
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        row = await _locked(unit.connection, function_id)
        values |= {"priority": priority_of(text, _opened(deps, row) or {})}
        return _whole(await _replace(unit.connection, principal, row, values, form.commit_message))


async def _replace(
    connection: AsyncConnection, principal: Principal, row: Function, values: Wire, message: str | None
) -> Function:
    version_id = await history.record(
        connection, KIND, row.id, _snapshot(values), user_id=principal.id, current=row.version_id, message=message
    )
    await functions.repository.change(connection, row.id, values | {"version_id": version_id})
    return await _stored(connection, row.id)


async def toggle(deps: Deps, function_id: str, switch: str) -> Wire:
    """switch: "is_active", or "is_global" for all models."""
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        row = await _locked(unit.connection, function_id)
        await functions.repository.change(unit.connection, function_id, {switch: not getattr(row, switch)})
        return _whole(await _stored(unit.connection, function_id))


async def delete(deps: Deps, function_id: str) -> bool:
    """As the wire has it: whether there is one now, which there is not."""
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        return await functions.repository.delete(unit.connection, [function_id]) > 0


async def sync(deps: Deps, principal: Principal, forms: list[SyncedFunction]) -> list[Wire]:
    """Makes the functions of this server those of an export: all or none. What is not in it is removed."""
    wanted: dict[str, tuple[SyncedFunction, PluginText, Wire | None]] = {}
    for form in forms:
        wanted[form.id] = form, *await _synced(deps, form)
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        await functions.one_at_a_time(unit.connection)
        await functions.repository.delete(unit.connection, await functions.ids(unit.connection) - wanted.keys())
        # In the order of their ids, so that two of these don't wait for each other.
        for function_id in sorted(wanted):
            await _take_over(deps, unit.connection, principal, *wanted[function_id])
        rows = await functions.repository.all(unit.connection)
    return [_whole(row) | {"valves": _opened(deps, row)} for row in rows]


async def _synced(deps: Deps, form: SyncedFunction) -> tuple[PluginText, Wire | None]:
    """Raises BadRequest naming the function."""
    try:
        plugins.check_id(form.id)
        text = await plugins.read(deps, form.content, tool=False)
        return text, form.valves and await deps.sources.check(form.content, "Valves", form.valves)
    except BadRequest as error:
        raise BadRequest(f"The function '{form.id[:100]}' can't be taken: {error.detail}") from None


async def _take_over(
    deps: Deps,
    connection: AsyncConnection,
    principal: Principal,
    form: SyncedFunction,
    text: PluginText,
    valves: Wire | None,
) -> None:
    values = columns(form.name, form.content, plugins.told(form), text)
    values |= {"is_active": form.is_active, "is_global": form.is_global}
    if valves is not None:
        values |= {"valves": plugins.seal(deps, KIND, form.id, valves)}
    row: Function | None = await functions.repository.get(connection, form.id, lock=True)
    stands = {} if row is None else _opened(deps, row) or {}
    values |= {"priority": priority_of(text, stands if valves is None else valves)}
    if row is None:
        if await _insert(connection, principal, form, values) is not None:
            return
        # Somebody made it meanwhile.
        row = await _locked(connection, form.id)
    await _replace(connection, principal, row, values, form.commit_message)


# Its history


async def versions_of(deps: Deps, function_id: str, page: int) -> list[Wire]:
    async with deps.database.read() as connection:
        await _with_history(connection, function_id)
        return await history.page(connection, KIND, function_id, page)


async def version(deps: Deps, function_id: str, version_id: str) -> Wire:
    async with deps.database.read() as connection:
        await _with_history(connection, function_id)
        return await history.entry(connection, KIND, function_id, version_id)


async def difference(deps: Deps, function_id: str, from_id: str, to_id: str) -> Wire:
    async with deps.database.read() as connection:
        await _with_history(connection, function_id)
        both = [await history.require(connection, KIND, function_id, one) for one in (from_id, to_id)]
    return await history.difference(deps.sources, *both)


async def _with_history(connection: AsyncConnection, function_id: str) -> None:
    if await functions.brief.get(connection, function_id) is None:
        raise NotFound(history.NOT_FOUND)


async def remove_version(deps: Deps, function_id: str, version_id: str) -> bool:
    async with deps.database.write() as unit:
        row: FunctionRow | None = await functions.brief.get(unit.connection, function_id, lock=True)
        if row is None:
            raise NotFound(history.NOT_FOUND)
        return await history.remove(unit.connection, KIND, function_id, version_id, row.version_id)


async def set_version(deps: Deps, function_id: str, version_id: str) -> Wire:
    """Brings a version back: text, name and description."""
    async with deps.database.read() as connection:
        await _with_history(connection, function_id)
        wanted = (await history.require(connection, KIND, function_id, version_id)).snapshot
    text = await plugins.read(deps, wanted["content"], tool=False)
    values = columns(wanted["name"], wanted["content"], wanted["meta"], text)
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        row = await _locked(unit.connection, function_id)
        await history.require(unit.connection, KIND, function_id, version_id)
        values |= {"version_id": version_id, "priority": priority_of(text, _opened(deps, row) or {})}
        await functions.repository.change(unit.connection, function_id, values)
        return _whole(await _stored(unit.connection, function_id))


# What is set of it


async def valves(deps: Deps, function_id: str) -> Wire:
    return _opened(deps, await _one(deps, function_id)) or {}


async def valves_form(deps: Deps, function_id: str) -> Wire | None:
    return (await deps.sources.read((await _one(deps, function_id)).content)).valves


async def set_valves(deps: Deps, function_id: str, values: Wire) -> Wire:
    checked = await deps.sources.check((await _one(deps, function_id)).content, "Valves", values)
    async with deps.database.write() as unit:
        unit.after_commit(deps.models_changed)
        row = await _locked(unit.connection, function_id)
        default = row.members.get("priority", 0)
        changed = {
            "valves": plugins.seal(deps, KIND, function_id, checked),
            "priority": priority_of(None, checked, default if isinstance(default, int) else 0),
        }
        await functions.repository.change(unit.connection, function_id, changed)
    return checked


async def _usable(deps: Deps, principal: Principal, function_id: str) -> Function:
    """One that somebody may set something of: any that is switched on. Raises NotFound, with 401."""
    async with deps.database.read() as connection:
        row: Function | None = await functions.repository.get_for(connection, principal, function_id)
    if row is None:
        raise NotFound(status=401)
    return row


async def own_valves(deps: Deps, principal: Principal, function_id: str) -> Wire:
    """What somebody set of a function for themselves."""
    await _usable(deps, principal, function_id)
    async with deps.database.read() as connection:
        sealed = await user_valves.get(connection, KIND, function_id, principal.id)
    return plugins.unseal(deps, KIND, function_id, sealed, principal.id)


async def own_valves_form(deps: Deps, principal: Principal, function_id: str) -> Wire | None:
    return (await deps.sources.read((await _usable(deps, principal, function_id)).content)).user_valves


async def set_own_valves(deps: Deps, principal: Principal, function_id: str, values: Wire) -> Wire:
    row = await _usable(deps, principal, function_id)
    if not principal.may("chat.valves"):
        raise Forbidden
    checked = await deps.sources.check(row.content, "UserValves", values)
    async with deps.database.write() as unit:
        if await functions.brief.get_for(unit.connection, principal, function_id, lock=True) is None:
            raise NotFound(status=401)
        sealed = plugins.seal(deps, KIND, function_id, checked, principal.id)
        await user_valves.put(unit.connection, KIND, function_id, principal.id, sealed)
    return checked
