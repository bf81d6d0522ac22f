"""The versions of a skill and the files in them: read, compared, brought back, removed, and made skills of their own.

The version that a skill is now is for who may use it; earlier ones are for who may change it.
"""

from typing import Any, Final, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import Forbidden, NotFound
from open_webui.models import skills
from open_webui.models.skills import KIND, Skill
from open_webui.models.versions import Version
from open_webui.plugins.sources import Sources
from open_webui.principal import Principal
from open_webui.schemas.skills import CloneForm, VersionForm
from open_webui.services import skill_files, skill_limits
from open_webui.services import skills as kept
from open_webui.services import versions as history
from open_webui.services.skill_files import Entries

_TOLD: Final = ("name", "description", "meta")
Wire = dict[str, Any]


class Deps(skill_limits.Deps, Protocol):
    """What it needs of the state."""

    sources: Sources


async def held(
    connection: AsyncConnection, principal: Principal, skill_id: str, version_id: str | None
) -> tuple[Skill, Version]:
    """A skill and one of its versions; the present one where none is named. Raises NotFound, Forbidden."""
    row = await kept.one(connection, principal, skill_id)
    wanted = version_id or row.version_id or ""
    if wanted != row.version_id and not skills.repository.may(row, principal, "write"):
        raise Forbidden
    return row, await history.require(connection, KIND, skill_id, wanted)


def entries_of(version: Version) -> Entries:
    """The files of a version, without what stands in them but for SKILL.md."""
    return skill_files.stored(version.snapshot.get("content", ""), version.snapshot.get("files", ()))


# Files


async def files(deps: Deps, principal: Principal, skill_id: str, version_id: str | None) -> Wire:
    async with deps.database.read() as connection:
        _, version = await held(connection, principal, skill_id, version_id)
    return {"version_id": version.id, "files": skill_files.listed(entries_of(version))}


async def file(deps: Deps, principal: Principal, skill_id: str, version_id: str, path: str) -> bytes:
    """What stands in a file of a version. Raises NotFound, Forbidden."""
    async with deps.database.read() as connection:
        _, version = await held(connection, principal, skill_id, version_id)
        return await _content(connection, skill_id, entries_of(version), path)


async def _content(connection: AsyncConnection, skill_id: str, entries: Entries, path: str) -> bytes:
    wanted = entries.get(path)
    if wanted is None:
        raise NotFound(skill_files.NO_SUCH_FILE)
    return (await kept.files_with_contents(connection, skill_id, {path: wanted}))[path]


# History


async def page(deps: Deps, principal: Principal, skill_id: str, number: int) -> list[Wire]:
    async with deps.database.read() as connection:
        await kept.one(connection, principal, skill_id, "write")
        return await history.page(connection, KIND, skill_id, number)


async def entry(deps: Deps, principal: Principal, skill_id: str, version_id: str) -> Wire:
    """One version: what it says of itself, its text, and which files it has."""
    async with deps.database.read() as connection:
        _, version = await held(connection, principal, skill_id, version_id)
    told = {name: version.snapshot.get(name) for name in _TOLD}
    content = {"content": version.snapshot.get("content", "")}
    data = {"data": {"files": skill_files.listed(entries_of(version))}}
    return history.wire(KIND, skill_id, version) | {"snapshot": told | content | data}


async def _both(
    connection: AsyncConnection, principal: Principal, skill_id: str, from_id: str, to_id: str
) -> tuple[Version, Version]:
    await kept.one(connection, principal, skill_id, "write")
    return (
        await history.require(connection, KIND, skill_id, from_id),
        await history.require(connection, KIND, skill_id, to_id),
    )


async def difference(deps: Deps, principal: Principal, skill_id: str, from_id: str, to_id: str) -> Wire:
    """Which values and which files differ between two versions."""
    async with deps.database.read() as connection:
        old, new = await _both(connection, principal, skill_id, from_id, to_id)
    before, after = entries_of(old), entries_of(new)
    return {
        "from_id": from_id,
        "to_id": to_id,
        "metadata": {
            name: {"before": old.snapshot.get(name), "after": new.snapshot.get(name)}
            for name in _TOLD
            if old.snapshot.get(name) != new.snapshot.get(name)
        },
        "files": [one for path in sorted(before | after) if (one := _changed(path, before, after)) is not None],
    }


def _changed(path: str, before: Entries, after: Entries) -> Wire | None:
    old, new = before.get(path), after.get(path)
    if old is not None and new is not None and old.hash == new.hash:
        return None
    status = "added" if old is None else "deleted" if new is None else "modified"
    return {"path": path, "status": status, "binary": any(one is not None and one.encoding for one in (old, new))}


async def file_difference(deps: Deps, principal: Principal, skill_id: str, from_id: str, to_id: str, path: str) -> Wire:
    """What differs in one file. Raises NotFound where neither version has it."""
    async with deps.database.read() as connection:
        versions = await _both(connection, principal, skill_id, from_id, to_id)
        sides = [entries_of(version) for version in versions]
        if not any(path in side for side in sides):
            raise NotFound(skill_files.NO_SUCH_FILE)
        old, new = [await _content(connection, skill_id, side, path) if path in side else b"" for side in sides]
    if not skill_files.is_text(old) or not skill_files.is_text(new):
        return {"diff": "", "line_endings_only": False, "binary": True}
    lines = await deps.sources.compare(old.decode(), new.decode(), path, path)
    return {"diff": "\n".join(lines), "line_endings_only": old != new and not lines, "binary": False}


async def remove(deps: Deps, principal: Principal, skill_id: str, version_id: str) -> bool:
    """Removes a version that is not in use, and what only it had."""
    async with deps.database.write() as unit:
        row = await kept.one(unit.connection, principal, skill_id, "write", lock=True)
        await history.remove(unit.connection, KIND, skill_id, version_id, row.version_id)
        await skills.tidy(unit.connection, skill_id)
    return True


async def restore(deps: Deps, principal: Principal, skill_id: str, form: VersionForm) -> Wire:
    """Brings a version back, as it was. Raises VersionConflict where the skill was changed meanwhile."""
    async with deps.database.write() as unit:
        row = await kept.one(unit.connection, principal, skill_id, "write", lock=True)
        kept.check_version(row, form.expected_version_id)
        version = await history.require(unit.connection, KIND, skill_id, form.version_id)
        values = {name: version.snapshot.get(name) for name in kept.TOLD}
        await skills.repository.change(unit.connection, skill_id, values | {"version_id": version.id})
        return await kept.whole(unit.connection, await kept.stored(unit.connection, skill_id))


async def clone(deps: Deps, principal: Principal, skill_id: str, form: CloneForm) -> Wire:
    """A skill of one's own with the files of a version of another one; nobody else may use it."""
    kept.check_writing(principal)
    async with deps.database.write() as unit:
        _, version = await held(unit.connection, principal, skill_id, form.version_id)
        entries = entries_of(version)
        contents = await kept.files_with_contents(unit.connection, skill_id, entries)
        copied = {path: skill_files.entry(path, data) for path, data in contents.items()}
        told = {name: version.snapshot.get(name) for name in ("description", "meta")}
        values = told | {"name": form.name, "is_active": True}
        made = await kept.insert(unit.connection, deps.config, principal, form.id, values, copied)
        return await kept.whole(unit.connection, made)
