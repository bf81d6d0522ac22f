"""The directories of a knowledge base, and its comparison with a folder that somebody keeps elsewhere."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest, NotFound
from open_webui.internal.db import UnitOfWork
from open_webui.models import knowledge, knowledge_directories, knowledge_files
from open_webui.models.knowledge_directories import MAX_DIRECTORIES, Directory
from open_webui.models.knowledge_files import Place
from open_webui.principal import Principal
from open_webui.schemas.knowledge import DirectoryForm, DirectoryUpdateForm, Manifest, ManifestEntry
from open_webui.services.knowledge_places import NO_DIRECTORY, NOT_HERE, Deps, forget, writable
from open_webui.utils.threads import in_thread_if_large

MAX_DEPTH: Final = 50
TAKEN: Final = "There is a directory with this name here already."
TOO_DEEP: Final = f"Directories can be nested {MAX_DEPTH} deep."
IN_ITSELF: Final = "A directory can't be moved into itself."
BAD_PATH: Final = "This is no path of a directory: {}"
Directories = Mapping[str, Directory]


def path_of(directories: Directories, directory_id: str | None) -> list[Directory]:
    """A directory with those above it, the uppermost first; nothing for the top. Stored parents may go in circles."""
    out: list[Directory] = []
    seen: set[str] = set()
    while directory_id is not None and directory_id in directories and directory_id not in seen:
        seen.add(directory_id)
        out.append(directories[directory_id])
        directory_id = directories[directory_id].parent_id
    return out[::-1]


def names_of(directories: Directories, directory_id: str | None) -> str:
    """A directory's path as the wire has it: names with slashes between them, "" for the top."""
    return "/".join(one.name for one in path_of(directories, directory_id))


def below(directories: Directories, directory_ids: Collection[str]) -> set[str]:
    """Directories with all in them."""
    wanted = set(directory_ids)
    return {i for i in directories if any(one.id in wanted for one in path_of(directories, i))}


def _check(directories: Directories, name: str, parent_id: str | None, but: str | None = None) -> None:
    """Raises NotFound or BadRequest where a directory can't have this name in this place."""
    if parent_id is not None and parent_id not in directories:
        raise NotFound(NO_DIRECTORY)
    if any(d.parent_id == parent_id and d.name == name and d.id != but for d in directories.values()):
        raise BadRequest(TAKEN)
    if len(path_of(directories, parent_id)) >= MAX_DEPTH:
        raise BadRequest(TOO_DEEP)


async def create(deps: Deps, principal: Principal, knowledge_id: str, form: DirectoryForm) -> Directory:
    """Makes a directory. Raises NotFound, Forbidden, BadRequest."""
    async with deps.database.write() as unit:
        await writable(unit, principal, knowledge_id, missing=404)
        there = await knowledge_directories.all_of(unit.connection, knowledge_id)
        if len(there) >= MAX_DIRECTORIES:
            raise BadRequest(f"A knowledge base can have at most {MAX_DIRECTORIES:,} directories.")
        parent_id = form.parent_id or None
        _check(there, form.name, parent_id)
        return await knowledge_directories.add(unit.connection, knowledge_id, principal.id, form.name, parent_id)


async def update(
    deps: Deps, principal: Principal, knowledge_id: str, directory_id: str, form: DirectoryUpdateForm
) -> Directory:
    """Renames a directory, moves it, or both. Raises NotFound, Forbidden, BadRequest."""
    async with deps.database.write() as unit:
        there, found = await _held(unit, principal, knowledge_id, directory_id)
        name = found.name if form.name is None else form.name
        parent_id = (form.parent_id or None) if "parent_id" in form.model_fields_set else found.parent_id
        if directory_id in {one.id for one in path_of(there, parent_id)}:
            raise BadRequest(IN_ITSELF)
        _check(there, name, parent_id, directory_id)
        at = await knowledge_directories.change(unit.connection, directory_id, name, parent_id)
        return msgspec.structs.replace(found, name=name, parent_id=parent_id, updated_at=at)


async def _held(
    unit: UnitOfWork, principal: Principal, knowledge_id: str, directory_id: str
) -> tuple[Directories, Directory]:
    await writable(unit, principal, knowledge_id, missing=404)
    there = await knowledge_directories.all_of(unit.connection, knowledge_id)
    if directory_id not in there:
        raise NotFound(NO_DIRECTORY)
    return there, there[directory_id]


async def delete(
    deps: Deps, principal: Principal, knowledge_id: str, directory_id: str, *, move_files: bool
) -> list[str]:
    """Removes a directory and those in it. Gives the ids of the files that are out of the base now.

    move_files: the files in them come to lie where the directory lay.
    """
    async with deps.database.write() as unit:
        there, found = await _held(unit, principal, knowledge_id, directory_id)
        gone, removed = below(there, [directory_id]), []
        if move_files:
            await knowledge_directories.move_files(unit.connection, gone, found.parent_id)
        else:
            inside = await knowledge_directories.files_in(unit.connection, gone)
            removed = await knowledge.remove_files(unit.connection, knowledge_id, inside)
            await forget(deps, unit, principal, removed)
        await knowledge_directories.remove(unit.connection, knowledge_id, gone)
    return removed


async def move_file(
    deps: Deps, principal: Principal, knowledge_id: str, file_id: str, directory_id: str | None
) -> None:
    """Puts a file of a base into a directory of it, or to the top. Raises NotFound, Forbidden."""
    async with deps.database.write() as unit:
        await writable(unit, principal, knowledge_id, missing=404)
        if directory_id:
            there = await knowledge_directories.of_many(unit.connection, [directory_id])
            if directory_id not in there or there[directory_id].knowledge_id != knowledge_id:
                raise NotFound(NO_DIRECTORY)
        if not await knowledge.move_file(unit.connection, knowledge_id, file_id, directory_id or None):
            raise NotFound(NOT_HERE)


# Comparing with a folder elsewhere


class Difference(msgspec.Struct):
    """What is to be done so that a base has what a folder has.

    modified: with the file of the base that another takes the place of. mkdir: paths, parents first. rmdir: ids.
    directory_map: the ids of the directories that both have, by path.
    """

    added: list[dict[str, Any]]
    modified: list[dict[str, Any]]
    deleted: list[dict[str, Any]]
    mkdir: list[str]
    rmdir: list[str]
    unmodified_count: int
    directory_map: dict[str, str]


async def compare(deps: Deps, principal: Principal, knowledge_id: str, manifest: Manifest) -> Difference:
    """Compares a base with a list of files. Raises NotFound, Forbidden, BadRequest."""
    async with deps.database.read() as connection:
        await knowledge.repository.require(connection, principal, knowledge_id, "write")
        there = await knowledge_directories.all_of(connection, knowledge_id)
        places = await knowledge_files.places(connection, knowledge_id)
    return await in_thread_if_large(len(places) + len(manifest) + len(there), difference, manifest, places, there)


def difference(manifest: Manifest, places: Collection[Place], there: Directories) -> Difference:
    """Files are told by their paths, and compared by what is in them: the SHA-256 of their bytes."""
    paths = {i: names_of(there, i) for i in there}
    wanted = {(_path(one.path), one.filename): one for one in manifest}
    out = Difference([], [], [], [], [], 0, {})
    kept: dict[tuple[str, str], Place] = {}
    for place in places:
        key = paths.get(place.directory_id or "", ""), place.filename
        entry, other = wanted.get(key), kept.get(key)
        if entry is None:
            out.deleted.append(_gone(key, place))
        elif other is None:
            kept[key] = place
        else:
            # Two of one name in one place: the one that is as it should be stays.
            stays, goes = (place, other) if place.blob == entry.checksum else (other, place)
            kept[key] = stays
            out.deleted.append(_gone(key, goes))
    for key, entry in wanted.items():
        _sort(out, key, entry, kept.get(key))
    needed: set[str] = set()
    for path, _ in wanted:
        parts = path.split("/") if path else []
        needed.update("/".join(parts[: k + 1]) for k in range(len(parts)))
    out.deleted.sort(key=lambda one: (one["path"], one["filename"]))
    out.directory_map = {path: i for i, path in paths.items() if path in needed}
    out.mkdir = sorted(needed - out.directory_map.keys(), key=lambda path: (path.count("/"), path))
    out.rmdir = [i for i, path in paths.items() if path not in needed]
    return out


def _sort(out: Difference, key: tuple[str, str], entry: ManifestEntry, place: Place | None) -> None:
    named = {"filename": entry.filename, "path": key[0]}
    if place is None:
        out.added.append(named)
    elif place.blob == entry.checksum.lower():
        out.unmodified_count += 1
    else:
        out.modified.append(named | {"stale_file_id": place.file_id})


def _gone(key: tuple[str, str], place: Place) -> dict[str, Any]:
    return {"filename": key[1], "path": key[0], "file_id": place.file_id}


def _path(given: str) -> str:
    parts = [part for part in given.strip("/").split("/") if part] if given else []
    if len(parts) > MAX_DEPTH:
        raise BadRequest(TOO_DEEP)
    if any(part in {".", ".."} or "\\" in part for part in parts):
        raise BadRequest(BAD_PATH.format(given[:200]))
    return "/".join(parts)


async def clean_up(
    deps: Deps, principal: Principal, knowledge_id: str, file_ids: Collection[str], directory_ids: Collection[str]
) -> None:
    """Takes files and directories out of a base; what is not in it is out of it already. Raises NotFound, Forbidden."""
    async with deps.database.write() as unit:
        await writable(unit, principal, knowledge_id, missing=404)
        await forget(deps, unit, principal, await knowledge.remove_files(unit.connection, knowledge_id, file_ids))
        there = await knowledge_directories.all_of(unit.connection, knowledge_id)
        await knowledge_directories.remove(unit.connection, knowledge_id, below(there, directory_ids))


async def reset(deps: Deps, principal: Principal, knowledge_id: str, *, directories: bool) -> dict[str, Any]:
    """Takes all files out of a base, and its directories if that is wished. The files stay whose they are."""
    async with deps.database.write() as unit:
        await writable(unit, principal, knowledge_id)
        await knowledge.remove_files(unit.connection, knowledge_id, None)
        if directories:
            await knowledge_directories.remove(unit.connection, knowledge_id)
        await knowledge.repository.change(unit.connection, knowledge_id, {})
        row = await knowledge.repository.get(unit.connection, knowledge_id)
    return msgspec.structs.asdict(row) | {"files": None} if row is not None else {}
