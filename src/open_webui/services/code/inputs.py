"""The files of a question as code may read them: those that the asker may read, under names of a folder."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from open_webui.constants import MAX_ID
from open_webui.models import files
from open_webui.principal import Principal
from open_webui.services.code.port import Given
from open_webui.services.deps import FileDeps
from open_webui.storage.base import BlobMissing, StoreAway, read_all
from open_webui.utils.addresses import file_id_of

# Of one piece of code: they travel in one frame.
MOST: Final = 20
MOST_BYTES: Final = 10 * 2**20
_ODD: Final = re.compile(r"[^\w .()+,=@-]")
_LONGEST: Final = 100


def ids_of(entries: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The ids of the files among the attachments of a question, with the name that each has there, if it has one."""
    found: dict[str, str] = {}
    for entry in entries:
        file_id = file_id_of(entry) or (entry.get("id") if entry.get("type") in {"file", "image"} else None)
        if isinstance(file_id, str) and file_id.isprintable() and len(file_id) <= MAX_ID:
            name = entry.get("name")
            found.setdefault(file_id, name if isinstance(name, str) else "")
    return found


async def read(
    deps: FileDeps, principal: Principal, wanted: Mapping[str, str], taken: Collection[str]
) -> tuple[dict[str, Given], list[str]]:
    """Those of the files that the person may read, by id; and a sentence about each that is left out.

    wanted: names by id. taken: names that the folder has already.
    """
    async with deps.database.read() as connection:
        found = await files.readable(connection, principal, wanted.keys())
    given: dict[str, Given] = {}
    notes: list[str] = []
    names, room = set(taken), MOST_BYTES
    for file_id, called in wanted.items():
        file = found.get(file_id)
        if file is None:
            continue
        name = _free(file_name(called or file.filename), names)
        if len(given) == MOST or file.size > room:
            notes.append(f"The file {name!r} is not in the folder: it is too large, or one too many.")
            continue
        try:
            data = await read_all(deps.blobs, file.blob)
        except (BlobMissing, StoreAway):
            notes.append(f"The file {name!r} is not in the folder: its content can't be read.")
            continue
        room -= file.size
        names.add(name)
        given[file_id] = Given(name, data)
    return given, notes


def file_name(given: str) -> str:
    """A name that is one of a folder, whatever was given."""
    name = _ODD.sub("_", given.replace("\\", "/").rpartition("/")[2]).strip(" .")
    stem, dot, ending = name.rpartition(".")
    if len(name) > _LONGEST:
        ending = ending[:20]
        name = f"{(stem if dot else name)[: _LONGEST - 21]}{'.' + ending if dot else ''}"
    return name or "file"


def _free(name: str, taken: Collection[str]) -> str:
    stem, dot, ending = name.rpartition(".")
    number = 1
    free = name
    while free in taken:
        number += 1
        free = f"{stem} ({number}).{ending}" if dot and stem else f"{name} ({number})"
    return free
