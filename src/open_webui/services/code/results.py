"""What came of code, as a model and a page get it: texts as JSON, pictures and files as stored files of the asker."""

import base64
from typing import Any, Final

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from open_webui.errors import OuiError
from open_webui.internal.log import get_logger
from open_webui.models import files
from open_webui.services import intake
from open_webui.services.code.port import Ran
from open_webui.services.deps import FileDeps
from open_webui.storage.base import StoreAway
from open_webui.tools.port import Asked, Progress, ToolResult
from open_webui.utils.addresses import address
from open_webui.utils.pictures import RASTER, media_type

log = get_logger(__name__)
# Bytes of one picture or file.
_LARGEST: Final = 16 * 2**20
NOT_KEPT: Final = "Files that code writes in a temporary chat are not kept."
NO_STORE: Final = "The pictures and files of the code could not be kept."


async def told(deps: FileDeps, asked: Asked, ran: Ran, progress: Progress) -> ToolResult:
    """The result of a call. Files that are no pictures are shown below the answer, too."""
    pictures, made, notes = await kept(deps, asked, ran)
    if made:
        await progress.emit("files", {"files": made})
    return ToolResult(text=_text(ran, [*pictures, *made], notes), files=tuple(pictures))


async def kept(deps: FileDeps, asked: Asked, ran: Ran) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """The pictures and the other files of code as a message's files, and sentences about what was left out.

    In a temporary chat pictures stay in the answer, which is not stored.
    """
    notes = list(ran.notes)
    if ran.left_out:
        notes.append(f"Not kept, since there is too much: {', '.join(map(repr, ran.left_out))[:1_000]}.")
    pictures = [data for data in ran.pictures if media_type(data[:512]) in RASTER and len(data) <= _LARGEST]
    if asked.chat_id is None:
        if ran.files:
            notes.append(NOT_KEPT)
        return [{"type": "image", "url": _data_url(data)} for data in pictures], [], notes
    named = {name: data for name, data in ran.files.items() if len(data) <= _LARGEST}
    try:
        entries = await _stored(deps, asked.principal.id, [("", data) for data in pictures] + list(named.items()))
    except (OuiError, StoreAway, SQLAlchemyError, OSError):
        log.exception("what code made could not be kept as files", chat_id=asked.chat_id)
        return [], [], [*notes, NO_STORE]
    shown = [entry for entry in entries if entry["type"] == "image"]
    return shown, [entry for entry in entries if entry["type"] != "image"], notes


async def _stored(deps: FileDeps, owner_id: str, given: list[tuple[str, bytes]]) -> list[dict[str, Any]]:
    new = [await intake.put(deps, owner_id, data, name.rpartition("/")[2] or None) for name, data in given]
    if new:
        async with deps.database.write() as unit:
            await files.add(unit.connection, owner_id, new)
    return [
        {"type": "image", "url": address(file.id), "name": file.filename}
        if file.mime in RASTER
        else {"type": "file", "id": file.id, "name": file.filename, "url": address(file.id), "size": file.size}
        for file in new
    ]


def _text(ran: Ran, entries: list[dict[str, Any]], notes: list[str]) -> str:
    """For the model."""
    told: dict[str, Any] = {"stdout": ran.stdout, "stderr": ran.stderr, "result": ran.result}
    if entries:
        told["files"] = [
            {"name": e.get("name"), "url": None if e["url"].startswith("data:") else e["url"]} for e in entries
        ]
    if notes:
        told["notes"] = notes
    return msgspec.json.encode({name: value for name, value in told.items() if value or name == "stdout"}).decode()


def wire(ran: Ran) -> dict[str, Any]:
    """For a page that had a block run, in the form of the contract: pictures are lines of the result."""
    pictures = [_data_url(data) for data in ran.pictures if media_type(data[:512]) in RASTER]
    result = "\n".join([*([ran.result] if ran.result else []), *pictures])
    return {"stdout": ran.stdout, "stderr": ran.stderr, "result": result or None}


def _data_url(data: bytes) -> str:
    return f"data:{media_type(data[:512])};base64,{base64.b64encode(data).decode()}"
