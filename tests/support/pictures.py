"""Pictures for tests, and what a database holds of any."""

import base64
import functools
import random
import re
import struct
import zlib
from typing import Any

import sqlalchemy as sa

from open_webui.models.base import metadata
from tests.support.live import Actor, Live
from tests.support.unchanged import mark

PARTS = re.compile(r"[A-Za-z0-9+/=]{1024,}")
ADDRESS = re.compile(r"/api/v1/files/([0-9a-f-]{36})/content")


def png(seed: int = 1, size: int = 4000) -> bytes:
    """A PNG that does not compress, of about so many bytes."""
    side = max(1, int((size / 3) ** 0.5))
    noise = random.Random(seed)
    rows = b"".join(b"\x00" + noise.randbytes(3 * side) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def data_url(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def picture(seed: int = 1, size: int = 4000) -> str:
    """A data: URL of a PNG."""
    return data_url(png(seed, size))


def shown_at(entry: dict[str, Any]) -> str:
    """Where pages show an entry of a question's files: its url is the file's id."""
    assert entry["content_type"] == "image/png"
    assert entry["id"] == entry["url"]
    return f"/api/v1/files/{entry['url']}/content"


@functools.cache
def _readers(dialect: str) -> list[tuple[list[str], str]]:
    """For each table the names of its columns, and the statement that reads them as texts."""
    kind = sa.dialects.registry.load(dialect)()
    return [
        (
            [f"{table.name}.{column.name}" for column in table.columns],
            str(sa.select(*(sa.cast(column, sa.Text) for column in table.columns)).compile(dialect=kind)),
        )
        for table in metadata.sorted_tables
    ]


async def texts(live: Live) -> list[tuple[str, str]]:
    """Every value of every table as (table.column, text)."""
    async with live.app.state.oui.database.read() as connection:
        key = await mark(connection)
        seen: tuple[Any, list[tuple[str, str]]] | None = getattr(live.app.state, "texts_seen", None)
        if seen is not None and seen[0] == key:
            return seen[1]
        out = []
        for names, statement in _readers(connection.dialect.name):
            for row in await connection.exec_driver_sql(statement):
                out += [(name, text) for name, text in zip(names, row, strict=True) if text]
    live.app.state.texts_seen = key, out
    return out


async def base64_in(live: Live) -> list[str]:
    """The columns that hold a data: URL or base64 of more than 1 KB."""
    return [name for name, text in await texts(live) if PARTS.search(text) or re.search(r"data:[^\"]{1024,}", text)]


async def unused_references(live: Live) -> list[tuple[str, str]]:
    """Addresses of files anywhere in the database that no use was noted for."""
    async with live.app.state.oui.database.read() as connection:
        used = set(await connection.scalars(sa.select(metadata.tables["file_use"].c.file_id)))
    return [(name, i) for name, text in await texts(live) for i in ADDRESS.findall(text) if i not in used]


def chat(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A chat document of messages that follow each other; each has at least an id and a role."""
    history: dict[str, Any] = {}
    before = None
    for given in messages:
        history[given["id"]] = {"content": "", **given, "parentId": before, "childrenIds": []}
        if before is not None:
            history[before]["childrenIds"] = [given["id"]]
        before = given["id"]
    return {"title": "Pictures", "history": {"messages": history, "currentId": before}} | more


def question(url: str, key: str = "q") -> dict[str, Any]:
    return {"id": key, "role": "user", "content": "What is this?", "files": [{"type": "image", "url": url}]}


def pictured() -> dict[str, Any]:
    """A chat with a picture in the question, one in the answer's text and one beside it."""
    said = {
        "id": "a",
        "role": "assistant",
        "content": f"Here: ![in the text]({picture(2)})",
        "model": "echo",
        "done": True,
    }
    asked = question(picture(1))
    asked["files"][0]["name"] = "asked.png"
    return chat(asked, said | {"files": [{"type": "image", "url": picture(3), "name": "beside.png"}]})


async def allow_everything(admin: Actor) -> None:
    """Everybody may do everything, so that only whose a thing is decides."""
    tree = (await admin.client.get("/api/v1/users/default/permissions")).json()
    allowed = {section: dict.fromkeys(entries, True) for section, entries in tree.items()}
    allowed["chat"]["temporary_enforced"] = False
    assert (await admin.client.post("/api/v1/users/default/permissions", json=allowed)).status_code == 200
