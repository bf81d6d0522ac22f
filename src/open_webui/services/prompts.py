"""Prompts: kept, called by their commands, shared, switched and brought back, with every rule on who may."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.models import prompts, users, versions
from open_webui.models.grants import Grant
from open_webui.models.prompts import KIND, Prompt
from open_webui.models.repository import Query
from open_webui.models.versions import Version
from open_webui.plugins.sources import Sources
from open_webui.principal import Principal
from open_webui.schemas.prompts import MetadataForm, PromptForm
from open_webui.services import granted
from open_webui.services import versions as history
from open_webui.services.deps import Deps as ServiceDeps

# Either permission lets somebody bring prompts along: writing one and importing one are the same.
WRITING: Final = ("workspace.prompts", "workspace.prompts_import")
BAD_COMMAND: Final = "A command has letters from a to z, small or large, digits, '-' and '_'."
FIRST: Final = "First version"
# Of the list without pages, with characters of all together.
MAX_LISTED: Final = 1_000
MAX_LISTED_CHARS: Final = 5_000_000
# Of one person.
MAX_OWN: Final = 2_000
FULL: Final = (
    f"You have {MAX_OWN:,} prompts, and this server keeps no more of one person. Delete some that are not needed."
)
# Versions of a page of a history: a full one is a sign to pages that there are more.
PER_PAGE: Final = 20
# What a version brings back. The command and who may use the prompt are no text of its, and stay as they are.
BROUGHT_BACK: Final = ("name", "content", "data", "meta", "tags")
_COMMAND: Final = re.compile(r"[A-Za-z0-9_-]+")
Wire = dict[str, Any]


class Deps(ServiceDeps, Protocol):
    """What it needs of the state."""

    sources: Sources


def check_writing(principal: Principal) -> None:
    """Raises the bare marker that pages know."""
    if not any(principal.may(permission) for permission in WRITING):
        raise Forbidden(constants.UNAUTHORIZED)


def checked(command: str) -> str:
    """The same command. Raises BadRequest."""
    if _COMMAND.fullmatch(command) is None:
        raise BadRequest(BAD_COMMAND)
    return command


# Reading


async def listed(deps: ServiceDeps, principal: Principal) -> list[Prompt]:
    """Those that are on and that somebody may use, the last changed ones where they are very many or very long.

    Pages offer all of these by their commands.
    """
    async with deps.database.read() as connection:
        return await prompts.latest(connection, principal, MAX_LISTED, MAX_LISTED_CHARS)


async def page(deps: Deps, principal: Principal, query: Query, tag: str | None) -> Wire:
    """A page of them for the workspace, with whether they may be changed."""
    async with deps.database.read() as connection:
        found = await prompts.page(connection, principal, query, tag)
    return granted.shown_page(prompts.repository, principal, found)


async def tags(deps: Deps, principal: Principal) -> list[str]:
    """The names of the tags on prompts that somebody may use."""
    async with deps.database.read() as connection:
        return await prompts.tags(connection, principal)


async def get(deps: Deps, principal: Principal, prompt_id: str) -> Wire:
    """One prompt."""
    return await granted.get(deps, prompts.repository, principal, prompt_id) | {"user": None}


# Writing


def _snapshot(values: Mapping[str, Any], access: Sequence[Grant]) -> Wire:
    """What a version holds. access: who may use the prompt then."""
    told = {name: values[name] for name in ("name", "content", "command", "data", "meta", "tags")}
    given = ("principal_type", "principal_id", "permission")
    return told | {"access_grants": [{name: getattr(one, name) for name in given} for one in access]}


def _values(form: PromptForm, stands: Prompt | None = None) -> Wire:
    """The columns of a form; of what it leaves out, those that stand."""
    values: Wire = {"command": checked(form.command), "name": form.name, "content": form.content}
    for name, nothing in (("data", {}), ("meta", {}), ("tags", [])):
        given = getattr(form, name)
        left = nothing if stands is None else getattr(stands, name)
        values[name] = left if given is None else given
    return values


async def create(deps: Deps, principal: Principal, form: PromptForm) -> Prompt:
    """A new prompt with its first version. Grants that the caller may not give are left out."""
    check_writing(principal)
    values = _values(form)
    async with deps.database.write() as unit:
        connection = unit.connection
        await users.lock(connection, [principal.id])
        if await prompts.count(connection, principal.id) >= MAX_OWN:
            raise BadRequest(FULL)
        made = await prompts.create(connection, principal.id, values)
        await prompts.repository.set_grants(connection, principal, made.id, form.access_grants or (), strict=False)
        access = await prompts.repository.grants_on(connection, made.id)
        version_id = await history.record(
            connection, KIND, made.id, _snapshot(values, access), user_id=principal.id,
            message=form.commit_message or FIRST,
        )  # fmt: skip
        await prompts.change(connection, made.id, {"version_id": version_id})
        return await _stored(connection, made.id)


async def update(deps: Deps, principal: Principal, prompt_id: str, form: PromptForm) -> Prompt:
    """A new version of a prompt; one that is not to be in use changes nothing else."""
    async with deps.database.write() as unit:
        connection = unit.connection
        row = await _writable(connection, principal, prompt_id)
        values = _values(form, row)
        in_use = form.is_production is not False
        access: Sequence[Grant] = row.access_grants
        if in_use and form.access_grants is not None:
            await prompts.repository.set_grants(connection, principal, prompt_id, form.access_grants, strict=False)
            access = await prompts.repository.grants_on(connection, prompt_id)
        version_id = await history.record(
            connection, KIND, prompt_id, _snapshot(values, access), user_id=principal.id, current=row.version_id,
            message=form.commit_message,
        )  # fmt: skip
        if in_use:
            await prompts.change(connection, prompt_id, values | {"version_id": version_id})
        return await _stored(connection, prompt_id)


async def set_metadata(deps: Deps, principal: Principal, prompt_id: str, form: MetadataForm) -> Prompt:
    """Changes what a prompt is called, which makes no version."""
    values: Wire = {"name": form.name, "command": checked(form.command)}
    if form.tags is not None:
        values["tags"] = form.tags
    async with deps.database.write() as unit:
        await _writable(unit.connection, principal, prompt_id)
        await prompts.change(unit.connection, prompt_id, values)
        return await _stored(unit.connection, prompt_id)


async def toggle(deps: Deps, principal: Principal, prompt_id: str) -> Prompt:
    """Switches a prompt off or on: pages don't offer one that is off."""
    async with deps.database.write() as unit:
        row = await _writable(unit.connection, principal, prompt_id)
        await prompts.change(unit.connection, prompt_id, {"is_active": not row.is_active})
        return await _stored(unit.connection, prompt_id)


async def _writable(connection: AsyncConnection, principal: Principal, prompt_id: str) -> Prompt:
    return await prompts.repository.require(connection, principal, prompt_id, "write", lock=True)


async def _stored(connection: AsyncConnection, prompt_id: str) -> Prompt:
    row = await prompts.repository.get(connection, prompt_id)
    if row is None:
        raise NotFound
    return row


# Its history: the version in use is for who may use the prompt, all others are for who may change it


async def versions_of(deps: Deps, principal: Principal, prompt_id: str, number: int) -> list[Wire]:
    """The versions of a prompt, the newest first, on pages that count from 0."""
    async with deps.database.read() as connection:
        row = await prompts.repository.require(connection, principal, prompt_id)
        if prompts.repository.may(row, principal, "write"):
            found = await versions.page(connection, KIND, prompt_id, number + 1, size=PER_PAGE, whole=True)
        else:
            now = await versions.get(connection, KIND, prompt_id, row.version_id or "")
            found = [now] if now is not None and number == 0 else []
    return [_version(row, one) | {"user": one.author and one.author.shown_to(principal)} for one in found]


def _version(row: Prompt, version: Version) -> Wire:
    told = history.wire(KIND, row.id, version)
    del told["user"]
    return told | {"snapshot": version.snapshot}


async def version(deps: Deps, principal: Principal, prompt_id: str, version_id: str) -> Wire:
    """One version. Raises NotFound, Forbidden."""
    async with deps.database.read() as connection:
        row = await prompts.repository.require(connection, principal, prompt_id)
        if version_id != row.version_id and not prompts.repository.may(row, principal, "write"):
            raise Forbidden
        return _version(row, await history.require(connection, KIND, prompt_id, version_id))


async def difference(deps: Deps, principal: Principal, prompt_id: str, from_id: str, to_id: str) -> Wire:
    """What another version would change."""
    async with deps.database.read() as connection:
        await prompts.repository.require(connection, principal, prompt_id, "write")
        old, new = [await history.require(connection, KIND, prompt_id, one) for one in (from_id, to_id)]
    lines, only_endings = await history.compared(deps.sources, old, new, (f"v{old.id[:8]}", f"v{new.id[:8]}"))
    return {
        "from_id": old.id,
        "to_id": new.id,
        "from_snapshot": old.snapshot,
        "to_snapshot": new.snapshot,
        "content_diff": lines,
        "line_endings_only": only_endings,
        "name_changed": old.snapshot.get("name") != new.snapshot.get("name"),
    }


async def set_version(deps: Deps, principal: Principal, prompt_id: str, version_id: str) -> Prompt:
    """Puts a version in use."""
    async with deps.database.write() as unit:
        await _writable(unit.connection, principal, prompt_id)
        wanted = await history.require(unit.connection, KIND, prompt_id, version_id)
        values = {name: wanted.snapshot[name] for name in BROUGHT_BACK if name in wanted.snapshot}
        await prompts.change(unit.connection, prompt_id, values | {"version_id": version_id})
        return await _stored(unit.connection, prompt_id)


async def remove_version(deps: Deps, principal: Principal, prompt_id: str, version_id: str) -> bool:
    """Removes a version that is not in use."""
    async with deps.database.write() as unit:
        row = await _writable(unit.connection, principal, prompt_id)
        return await history.remove(unit.connection, KIND, prompt_id, version_id, row.version_id)
