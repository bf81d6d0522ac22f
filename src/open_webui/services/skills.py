"""Skills as people keep them: made, changed, shared and switched, with every rule on who may. A skill runs nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.config import Config
from open_webui.errors import BadRequest, Forbidden, NotFound, TooLarge, VersionConflict
from open_webui.models import skills
from open_webui.models.grants import Action
from open_webui.models.repository import MAX_PAGE_SIZE, Query
from open_webui.models.skills import KIND, Skill, SkillRow
from open_webui.principal import Principal
from open_webui.schemas.skills import MAX_DESCRIPTION, Operation, SkillForm
from open_webui.services import skill_files, skill_limits
from open_webui.services import versions as history
from open_webui.services.skill_files import MAIN, Entries
from open_webui.services.skill_limits import Deps

# Either permission lets somebody bring skills along: making one and importing one are the same.
WRITING: Final = ("workspace.skills", "workspace.skills_import")
UNKNOWN: Final = "Skill not found"
BAD_ID: Final = "The id of a skill has letters from a to z, digits, '-', '_' and '.', and begins with none of the last."
TAKEN: Final = "This id is taken. Choose another one."
# Bytes of the files of a skill and all its versions.
MAX_KEPT: Final = 64 * 2**20
TOO_MUCH: Final = (
    f"The files of this skill and of its versions may have {MAX_KEPT // 2**20} MB together. Remove versions that you don't"
    " need any more."
)
# What a version holds.
TOLD: Final = ("name", "description", "meta", "content", "files")
Wire = dict[str, Any]


def check_writing(principal: Principal) -> None:
    """Raises the bare marker that pages know."""
    if not any(principal.may(permission) for permission in WRITING):
        raise Forbidden(constants.UNAUTHORIZED)


# On the wire


def shown(row: SkillRow, **more: Any) -> Wire:
    """A skill without its text."""
    wire = {
        "version_id": row.version_id,
        "id": row.id,
        "user_id": row.user_id,
        "name": row.name,
        "description": row.description,
        "meta": row.meta,
        "is_active": row.is_active,
        "access_grants": list(row.access_grants),
        "updated_at": row.updated_at,
        "created_at": row.created_at,
    }
    return wire | more


async def files_with_contents(connection: AsyncConnection, skill_id: str, entries: Entries) -> dict[str, bytes]:
    """What stands in files, by their paths."""
    wanted = {one.hash for one in entries.values() if one.data is None}
    found = await skills.contents(connection, skill_id, wanted)
    return {path: one.data if one.data is not None else found.get(one.hash, b"") for path, one in entries.items()}


async def contents_of(connection: AsyncConnection, skills_of: Mapping[str, Entries]) -> dict[str, dict[str, bytes]]:
    """What stands in the files of several skills, by ids and paths."""
    wanted = {
        (skill_id, one.hash) for skill_id, of_one in skills_of.items() for one in of_one.values() if one.data is None
    }
    found = await skills.contents_of_all(connection, wanted)
    return {
        skill_id: {
            path: one.data if one.data is not None else found.get((skill_id, one.hash), b"")
            for path, one in of_one.items()
        }
        for skill_id, of_one in skills_of.items()
    }


async def whole(connection: AsyncConnection, row: Skill) -> Wire:
    """A skill with all its files."""
    held = await files_with_contents(connection, row.id, skill_files.stored(row.content, row.files))
    files = [skill_files.shown(path, data) for path, data in held.items()]
    return shown(row, content=row.content, data={"files": files})


# Reading


async def listed(deps: Deps, principal: Principal, text: str | None) -> list[Wire]:
    """Those that somebody may use, those that are switched off, too."""
    async with deps.database.read() as connection:
        page = await skills.brief.page(connection, principal, Query(text=text, size=MAX_PAGE_SIZE))
    return [shown(row, user=page.owners.get(row.user_id)) for row in page.items]


async def page(deps: Deps, principal: Principal, query: Query) -> Wire:
    """A page of them for the workspace, with whether they may be changed."""
    async with deps.database.read() as connection:
        found = await skills.brief.page(connection, principal, query)
    items = [
        shown(row, user=found.owners.get(row.user_id), write_access=skills.brief.may(row, principal, "write"))
        for row in found.items
    ]
    return {"items": items, "total": found.total}


async def get(deps: Deps, principal: Principal, skill_id: str) -> Wire:
    """One skill with its text."""
    async with deps.database.read() as connection:
        row = await one(connection, principal, skill_id, unknown=NotFound())
    writes = skills.repository.may(row, principal, "write")
    return shown(row, user=None, write_access=writes, content=row.content)


async def one(
    connection: AsyncConnection,
    principal: Principal,
    skill_id: str,
    action: Action = "read",
    *,
    unknown: NotFound | None = None,
    lock: bool = False,
) -> Skill:
    """A skill that somebody may use or change. Raises NotFound, Forbidden."""
    row = await skills.repository.get(connection, skill_id, lock=lock)
    if row is None:
        raise unknown or NotFound(UNKNOWN)
    if not skills.repository.may(row, principal, action):
        raise Forbidden
    return row


# Writing


def _snapshot(values: Mapping[str, Any]) -> Wire:
    return {name: values[name] for name in TOLD}


def _filed(entries: Entries) -> Wire:
    """The columns that files fill."""
    return {"content": (entries[MAIN].data or b"").decode(), "files": skill_files.kept(entries)}


async def _keep(connection: AsyncConnection, skill_id: str, entries: Entries) -> None:
    """Keeps what is new of files. Raises TooLarge."""
    new = {one.hash: one.data for path, one in entries.items() if path != MAIN and one.data is not None}
    if not new:
        return
    await skills.keep(connection, skill_id, new)
    if await skills.kept_bytes(connection, skill_id) <= MAX_KEPT:
        return
    await skills.tidy(connection, skill_id)
    if await skills.kept_bytes(connection, skill_id) > MAX_KEPT:
        raise TooLarge(TOO_MUCH)


def check_id(skill_id: str) -> None:
    """Raises BadRequest."""
    if skill_files.ID.fullmatch(skill_id) is None:
        raise BadRequest(BAD_ID)


async def insert(
    connection: AsyncConnection,
    config: Config,
    principal: Principal,
    skill_id: str,
    values: Mapping[str, Any],
    entries: Entries,
    *,
    message: str | None = None,
) -> Skill:
    """A new skill with its first version. values: name, description, meta and is_active. Raises BadRequest."""
    check_id(skill_id)
    await skill_limits.check_count(connection, config, principal.id)
    columns = dict(values) | _filed(entries)
    if await skills.repository.create(connection, principal.id, columns, row_id=skill_id) is None:
        raise BadRequest(TAKEN)
    version_id = await history.record(
        connection, KIND, skill_id, _snapshot(columns), user_id=principal.id, message=message
    )
    await _keep(connection, skill_id, entries)
    await skills.repository.change(connection, skill_id, {"version_id": version_id})
    return await stored(connection, skill_id)


async def replace(
    connection: AsyncConnection,
    principal: Principal,
    row: Skill,
    values: Mapping[str, Any],
    entries: Entries,
    *,
    message: str | None = None,
) -> Skill:
    """A new version of a skill whose row is locked."""
    columns = dict(values) | _filed(entries)
    version_id = await history.record(
        connection, KIND, row.id, _snapshot(columns), user_id=principal.id, current=row.version_id, message=message
    )
    await _keep(connection, row.id, entries)
    await skills.repository.change(connection, row.id, columns | {"version_id": version_id})
    return await stored(connection, row.id)


async def stored(connection: AsyncConnection, skill_id: str) -> Skill:
    row = await skills.repository.get(connection, skill_id)
    if row is None:
        raise NotFound
    return row


def check_version(row: SkillRow, expected: str | None) -> None:
    """Raises VersionConflict where a skill is another version than somebody thinks."""
    if expected is not None and expected != row.version_id:
        raise VersionConflict


def _values(form: SkillForm, entries: Entries) -> Wire:
    description = form.description
    if description is None:
        said = skill_files.front_matter((entries[MAIN].data or b"").decode())
        description = said.get("description", "")[:MAX_DESCRIPTION] or None
    return {"name": form.name, "description": description, "meta": form.meta.model_dump()}


async def create(deps: Deps, principal: Principal, form: SkillForm) -> Wire:
    """A new skill. Grants that the caller may not give are left out."""
    check_writing(principal)
    entries = skill_files.described(form)
    if entries is None:
        raise BadRequest(skill_files.NO_TEXT)
    values = _values(form, entries) | {"is_active": form.is_active is not False}
    async with deps.database.write() as unit:
        await insert(unit.connection, deps.config, principal, form.id, values, entries, message=form.commit_message)
        await skills.repository.set_grants(unit.connection, principal, form.id, form.access_grants or (), strict=False)
        return shown(await stored(unit.connection, form.id))


async def update(deps: Deps, principal: Principal, skill_id: str, form: SkillForm) -> Wire:
    """Changes a skill: all its files, some of them by operations, or its text alone. What a form leaves out stays."""
    given = skill_files.described(form)
    async with deps.database.write() as unit:
        row = await writable(unit.connection, principal, skill_id)
        check_version(row, form.expected_version_id)
        entries = skill_files.stored(row.content, row.files)
        if form.operations is not None:
            entries = skill_files.changed(entries, form.operations)
        elif given is not None:
            only_text = form.files is None and form.data is None
            entries = skill_files.checked({**entries, **given}.values()) if only_text else given
        values = _values(form, entries)
        if form.is_active is not None:
            values["is_active"] = form.is_active
        await replace(unit.connection, principal, row, values, entries, message=form.commit_message)
        if form.access_grants is not None:
            await skills.repository.set_grants(unit.connection, principal, skill_id, form.access_grants, strict=False)
        return await whole(unit.connection, await stored(unit.connection, skill_id))


async def change_files(
    deps: Deps, principal: Principal, skill_id: str, operations: Sequence[Operation], *, message: str | None
) -> Skill:
    """Changes files of a skill. Who changes files writes: a grant alone is not enough."""
    check_writing(principal)
    async with deps.database.write() as unit:
        row = await writable(unit.connection, principal, skill_id)
        entries = skill_files.changed(skill_files.stored(row.content, row.files), operations)
        values = {"name": row.name, "description": row.description, "meta": row.meta}
        return await replace(unit.connection, principal, row, values, entries, message=message)


async def set_access(deps: Deps, principal: Principal, skill_id: str, given: Sequence[Mapping[str, Any]]) -> Wire:
    """Replaces the grants on a skill. Raises Forbidden (403) when a new one is not the caller's to give."""
    async with deps.database.write() as unit:
        await writable(unit.connection, principal, skill_id)
        await skills.repository.set_grants(unit.connection, principal, skill_id, given, strict=True)
        return await whole(unit.connection, await stored(unit.connection, skill_id))


async def toggle(deps: Deps, principal: Principal, skill_id: str) -> Wire:
    """Switches a skill off or on: one that is off is given to no model."""
    async with deps.database.write() as unit:
        row = await writable(unit.connection, principal, skill_id)
        await skills.repository.change(unit.connection, skill_id, {"is_active": not row.is_active})
        return await whole(unit.connection, await stored(unit.connection, skill_id))


async def delete(deps: Deps, principal: Principal, skill_id: str) -> bool:
    async with deps.database.write() as unit:
        await writable(unit.connection, principal, skill_id)
        await skills.repository.delete(unit.connection, [skill_id])
    return True


async def writable(connection: AsyncConnection, principal: Principal, skill_id: str) -> Skill:
    return await one(connection, principal, skill_id, "write", unknown=NotFound(), lock=True)
