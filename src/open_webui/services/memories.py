"""Memories: made, changed and removed by their owner alone, and found by words and by vectors as documents are.

The text of each is in the index from the transaction on that stores it. Vectors follow by the job that makes those of documents.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.internal.db import Database, UnitOfWork
from open_webui.models import documents, memories
from open_webui.models.memories import Amount, Kind, Memory, Place
from open_webui.principal import Principal
from open_webui.schemas.memories import (
    MAX_PATH,
    AddMemoryForm,
    ListMemoryPathsForm,
    MemoryUpdateForm,
    QueryMemoryForm,
    ReadMemoryPathForm,
    SearchMemoriesForm,
    UpdateMemoriesForm,
)
from open_webui.services.memory_changes import Changes
from open_webui.services.processing import Deps as ProcessingDeps

if TYPE_CHECKING:
    from open_webui.services.library import Library

Wire = dict[str, Any]
PERMISSION: Final = "features.memories"
OFF: Final = "Memories are switched off on this server. An administrator can switch them on."
EMPTY: Final = "A memory needs a text."
LONG: Final = "A memory has at most {:,} characters, and this one has {:,}. Shorten it, or make several of it."
FULL: Final = "You have {:,} memories, and {:,} are the most. Delete some that are not needed any more."
FULL_OF_TEXT: Final = (
    "Memories have at most {:,} characters together. Delete or shorten some that are not needed any more."
)
NOTHING_TO_CHANGE: Final = "Say what is to be changed: 'content', 'type' or 'path'."
DEEP: Final = "A path has at most {} parts, with slashes between them."
MOST_PARTS: Final = 10
# Memories that are put into the index in one unit of work.
_AT_ONCE: Final = 500
# The most that anybody has, whatever the settings say, and characters of all of them.
MOST: Final = 10_000
MOST_CHARS: Final = 5_000_000
# Paths below one that are looked at for its children.
MOST_PLACES: Final = 1_000


class Deps(ProcessingDeps, Protocol):
    """What it needs of the state. library: searches, and is opened when something is to be found."""

    @property
    def library(self) -> "Library": ...


def check(deps: Deps, principal: Principal) -> None:
    """Whether somebody may use memories at all. To see and to delete one's own, one always may. Raises Forbidden."""
    if not deps.config["memories.enable"]:
        raise Forbidden(OFF, status=403)
    if not principal.may(PERMISSION):
        raise Forbidden


# Making and changing


async def add(deps: Deps, principal: Principal, form: AddMemoryForm, *, by: str = "manual") -> Memory:
    """A new memory, or the one that says the same already. by: who or what made it. Raises BadRequest, Forbidden."""
    check(deps, principal)
    async with deps.database.write() as unit:
        made, _ = await _add(deps, unit, principal, form, by)
        return made


async def _add(
    deps: Deps, unit: UnitOfWork, principal: Principal, form: AddMemoryForm, by: str | None
) -> tuple[Memory, bool]:
    """The memory, and whether it is new."""
    content, path = text_of(deps, form.content), path_of(form.path)
    connection = unit.connection
    await memories.hold(connection, principal.id)
    same = await memories.with_content(connection, principal, content, form.type)
    if same is not None:
        return same, False
    held = memories.total(await memories.amounts(connection, principal))
    _check_room(deps, held, 1, len(content))
    meta = {"created_by": by} if by else None
    values = {"type": form.type, "path": path, "content": content, "meta": meta}
    made = await memories.repository.create(connection, principal.id, values)
    assert made is not None, "its id is new"
    await _index(deps, unit, {made.id: content})
    return made, True


async def update(deps: Deps, principal: Principal, memory_id: str, form: MemoryUpdateForm) -> Memory:
    """Raises BadRequest where nothing is to be changed, NotFound, Forbidden."""
    check(deps, principal)
    if form.content is None and form.type is None and form.path is None:
        raise BadRequest(NOTHING_TO_CHANGE)
    async with deps.database.write() as unit:
        changed = await _change(deps, unit, principal, memory_id, form)
    if changed is None:
        raise NotFound
    return changed


async def _change(
    deps: Deps, unit: UnitOfWork, principal: Principal, memory_id: str, form: MemoryUpdateForm
) -> Memory | None:
    """The changed memory; None where it is not there, or somebody else's."""
    values: dict[str, Any] = {}
    if form.content is not None:
        values["content"] = text_of(deps, form.content)
    if form.type is not None:
        values["type"] = form.type
    if form.path is not None:
        values["path"] = path_of(form.path)
    connection = unit.connection
    await memories.hold(connection, principal.id)
    row = await memories.repository.get_for(connection, principal, memory_id, "write", lock=True)
    if row is None:
        return None
    if (longer := len(values.get("content", "")) - len(row.content)) > 0:
        _check_room(deps, memories.total(await memories.amounts(connection, principal)), 0, longer)
    await memories.repository.change(connection, row.id, values)
    if values.get("content", row.content) != row.content:
        await _index(deps, unit, {row.id: values["content"]})
    return await memories.repository.get(connection, row.id)


async def apply(deps: Deps, principal: Principal, form: UpdateMemoriesForm) -> list[Wire]:
    """Makes all changes, or none where one of them can't be made. Raises BadRequest, NotFound, Forbidden."""
    check(deps, principal)
    operations, done = form.operations, []
    added = [each.content.strip() for each in operations if each.action == "add" and each.content is not None]
    async with deps.database.write() as unit:
        connection = unit.connection
        # The person before their memories, as whoever removes the account: so none wait for each other in a ring.
        await memories.hold(connection, principal.id)
        known = await memories.hold_some(connection, principal, [each.id for each in operations if each.id], added)
        held = memories.total(await memories.amounts(connection, principal))
        changes = Changes(
            known,
            user_id=principal.id,
            at=memories.repository.now(),
            meta={"created_by": form.source} if form.source else None,
            text_of=lambda content: text_of(deps, content),
            path_of=path_of,
            check_room=lambda count, chars: _check_room(deps, held, count, chars),
        )
        for n, operation in enumerate(operations, 1):
            status, memory = changes.apply(n, operation)
            done.append({"action": operation.action, "status": status, "memory": _without_meta(memory)})
        await memories.store(connection, changes.made, changes.changed, changes.removed)
        await _index(deps, unit, changes.texts)
    return done


def _check_room(deps: Deps, held: Amount, count: int, chars: int) -> None:
    """Raises BadRequest where somebody who holds so much may not have so many memories or characters more."""
    most = min(MOST, max(0, deps.config["memories.max_count"]))
    if count > 0 and held.count + count > most:
        raise BadRequest(FULL.format(held.count + count - 1, most))
    if chars > 0 and held.chars + chars > MOST_CHARS:
        raise BadRequest(FULL_OF_TEXT.format(MOST_CHARS))


async def delete(deps: Deps, principal: Principal, memory_id: str) -> bool:
    """Whether there was one."""
    async with deps.database.write() as unit:
        row = await memories.repository.get_for(unit.connection, principal, memory_id, "write", lock=True)
        return row is not None and await memories.repository.delete(unit.connection, [row.id]) > 0


async def clear(deps: Deps, principal: Principal) -> bool:
    """Removes all that somebody has."""
    async with deps.database.write() as unit:
        await memories.hold(unit.connection, principal.id)
        await memories.delete_of(unit.connection, principal)
    return True


def text_of(deps: Deps, given: str) -> str:
    """A memory's text as it is stored. Raises BadRequest."""
    content, most = given.strip(), max(1, deps.config["memories.max_chars"])
    if not content:
        raise BadRequest(EMPTY)
    if len(content) > most:
        raise BadRequest(LONG.format(most, len(content)))
    return content


def path_of(given: str | None) -> str | None:
    """A path as it is stored: its parts with a slash between them; None for an empty one. Raises BadRequest."""
    parts = [part for each in (given or "")[:MAX_PATH].split("/") if (part := " ".join(each.split()))]
    if len(parts) > MOST_PARTS:
        raise BadRequest(DEEP.format(MOST_PARTS))
    return "/".join(parts) or None


# The index


async def _index(deps: Deps, unit: UnitOfWork, texts: dict[str, str]) -> None:
    """Has texts found from this transaction on. Vectors are made in the background, where something makes them."""
    await documents.put_memories(unit.connection, texts)
    if texts and deps.ingestion.stored is not None:
        await deps.ingestion.stored(unit)


async def reset(deps: Deps, principal: Principal) -> bool:
    """Puts all that somebody has into the index anew, with new vectors. Everybody's are put there by `reindexing`."""
    check(deps, principal)
    await deps.attempts.index_anew(principal.id)
    after = ""
    while True:
        async with deps.database.write() as unit:
            found = await memories.next_texts(unit.connection, after, _AT_ONCE, principal.id)
            await _index(deps, unit, dict(found))
        if len(found) < _AT_ONCE:
            return True
        after = found[-1][0]


# Reading


async def listed(deps: Deps, principal: Principal) -> list[Memory]:
    """All that somebody has, the newest change first."""
    async with deps.database.read() as connection:
        return await memories.listed(connection, principal, limit=MOST)


async def search(deps: Deps, principal: Principal, form: SearchMemoriesForm) -> list[Memory]:
    """Those that have all words of a query in their text or path, the newest change first."""
    check(deps, principal)
    async with deps.database.read() as connection:
        return await memories.listed(
            connection,
            principal,
            kind=kind_of(form.type),
            words=words_of(form.query),
            path=path_of(form.path),
            beneath=True,
            memory_id=form.memory_id,
            limit=form.limit,
        )


async def find(deps: Deps, principal: Principal, question: str, limit: int) -> list[tuple[Memory, float]]:
    """Those that fit a question best, the best first, each with its score from 0 to 1."""
    check(deps, principal)
    return await fitting(deps.database, deps.library, principal, question, limit)


async def fitting(
    database: Database, library: "Library", principal: Principal, question: str, limit: int, kind: Kind | None = None
) -> list[tuple[Memory, float]]:
    """`find`, for somebody who may."""
    if not question.strip() or limit < 1:
        return []
    hits = await library.memories(principal, question, limit, kind)
    async with database.read() as connection:
        rows = await memories.by_ids(connection, principal, [hit.memory_id for hit in hits if hit.memory_id])
    return [(rows[hit.memory_id], hit.score) for hit in hits if hit.memory_id in rows]


async def query(deps: Deps, principal: Principal, form: QueryMemoryForm) -> Wire:
    """`find`, as answers to queries have it."""
    found = await find(deps, principal, form.content, form.k or 1)
    return {
        "ids": [[row.id for row, _ in found]],
        "documents": [[row.content for row, _ in found]],
        "metadatas": [[_dates(row) for row, _ in found]],
        "distances": [[score for _, score in found]],
    }


async def paths(deps: Deps, principal: Principal, form: ListMemoryPathsForm) -> Wire:
    """Where somebody's memories stand, each with what stands directly below it."""
    check(deps, principal)
    async with deps.database.read() as connection:
        found = await memories.places(
            connection, principal, kind=kind_of(form.type), words=words_of(form.query), limit=form.limit
        )
    # What stands below all paths is found in one go.
    children = below(found)
    listed_paths = [msgspec.structs.asdict(place) | {"children": children.get(place.path or "", [])} for place in found]
    return {"paths": listed_paths, "count": len(found)}


async def at_path(deps: Deps, principal: Principal, form: ReadMemoryPathForm) -> Wire:
    """What stands at a path, and with `include_children` below it. Raises BadRequest, Forbidden."""
    check(deps, principal)
    path, kind = path_of(form.path), kind_of(form.type)
    if path is None:
        raise BadRequest("Name the path that is to be read.")
    async with deps.database.read() as connection:
        found = await memories.listed(
            connection, principal, kind=kind, path=path, beneath=form.include_children, limit=form.limit
        )
        places = await memories.places(connection, principal, kind=kind, below=path, limit=MOST_PLACES)
    return {"path": path, "memories": found, "children": below(places).get(path, []), "count": len(found)}


def below(places: Collection[Place]) -> dict[str, list[str]]:
    """By each path the paths directly below it, of those that are there or have some below them."""
    found: dict[str, set[str]] = {}
    for place in places:
        path = place.path or ""
        while "/" in path:
            above = path.rpartition("/")[0]
            if path in (known := found.setdefault(above, set())):
                break
            known.add(path)
            path = above
    return {above: sorted(paths) for above, paths in found.items()}


def kind_of(said: str) -> Kind | None:
    """A type of memories; None for all."""
    return "user" if said == "user" else "context" if said == "context" else None


def words_of(text: str | None) -> Sequence[str]:
    """The words of a query, each once; so many as one statement can look for."""
    return list(dict.fromkeys((text or "").split()))[:20]


def _without_meta(memory: Memory) -> Wire:
    fields = msgspec.structs.asdict(memory)
    del fields["meta"]
    return fields


def _dates(memory: Memory) -> Wire:
    out: Wire = {"updated_at": memory.updated_at, "type": memory.type, "created_at": memory.created_at}
    return out | ({"path": memory.path} if memory.path is not None else {})
