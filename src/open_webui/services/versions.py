"""The history of a thing, as pages show it. Who may see it is looked at by those who call: a version holds the whole thing."""

import json
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import BadRequest, NotFound
from open_webui.models import versions
from open_webui.models.versions import Version
from open_webui.plugins.sources import Sources

# The marker of the wire, for versions and for things whose history is asked for.
NOT_FOUND: Final = "Not found"
IN_USE: Final = "This is the version in use. Put another one in its place, then remove it."
Wire = dict[str, Any]


def wire(kind: str, resource_id: str, version: Version) -> Wire:
    return {
        "id": version.id,
        f"{kind}_id": resource_id,
        "parent_id": version.parent_id,
        # An account that is gone is nobody's.
        "user_id": version.user_id or "",
        "commit_message": version.commit_message,
        "created_at": version.created_at,
        "user": None if version.author is None else {"name": version.author.name},
    }


async def page(connection: AsyncConnection, kind: str, resource_id: str, number: int) -> list[Wire]:
    """A page of a thing's versions, the newest first."""
    return [wire(kind, resource_id, one) for one in await versions.page(connection, kind, resource_id, number)]


async def entry(connection: AsyncConnection, kind: str, resource_id: str, version_id: str) -> Wire:
    """One version, whole. Raises NotFound."""
    version = await require(connection, kind, resource_id, version_id)
    return wire(kind, resource_id, version) | {"snapshot": version.snapshot}


async def require(connection: AsyncConnection, kind: str, resource_id: str, version_id: str) -> Version:
    """A version of this thing. Raises NotFound."""
    version = await versions.get(connection, kind, resource_id, version_id)
    if version is None:
        raise NotFound(NOT_FOUND)
    return version


async def remove(
    connection: AsyncConnection, kind: str, resource_id: str, version_id: str, current: str | None
) -> bool:
    """Removes a version, but for the current one, which the thing is. Raises NotFound, BadRequest."""
    if version_id == current:
        raise BadRequest(IN_USE)
    if not await versions.delete(connection, kind, resource_id, version_id):
        raise NotFound(NOT_FOUND)
    return True


async def record(
    connection: AsyncConnection,
    kind: str,
    resource_id: str,
    snapshot: Wire,
    *,
    user_id: str,
    current: str | None = None,
    before: Wire | None = None,
    message: str | None = None,
) -> str:
    """The version of a thing that was just made or changed: a new one, or the current one where nothing of it changed.

    before: the thing until now, for one whose current version was never kept.
    """
    if current is not None:
        stands = await versions.get(connection, kind, resource_id, current)
        if stands is None and before is not None:
            # Who made it is not known.
            await versions.add(connection, kind, resource_id, before, user_id=None, version_id=current)
        if not message and snapshot == (before if stands is None else stands.snapshot):
            return current
    return await versions.add(
        connection, kind, resource_id, snapshot, user_id=user_id, parent_id=current, message=message
    )


async def difference(sources: Sources, old: Version, new: Version) -> Wire:
    """What another version would change: of the content the lines, of all else the values."""
    before, after = old.snapshot, new.snapshot
    lines, only_endings = await compared(sources, old, new, ("selected.py", "production.py"))
    changed = {
        name: {"before": before.get(name), "after": after.get(name)}
        for name in sorted((before.keys() | after.keys()) - {"content"})
        if before.get(name) != after.get(name)
    }
    return {
        "from_id": old.id,
        "to_id": new.id,
        "metadata": changed,
        "content_diff": "\n".join(lines),
        "line_endings_only": only_endings,
    }


async def compared(sources: Sources, old: Version, new: Version, names: tuple[str, str]) -> tuple[list[str], bool]:
    """The lines of a diff of two contents, and whether nothing but the ends of lines differs. names: of the two in the diff."""
    before, after = (_text(one.snapshot.get("content")) for one in (old, new))
    lines = await sources.compare(before, after, *names)
    return lines, before != after and not lines


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, indent=2, ensure_ascii=False)
