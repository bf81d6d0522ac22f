"""Files, knowledge bases and documents for tests, made below the API: a text a chunk."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import documents, files, tables, users
from open_webui.models.documents import NewDocument
from open_webui.principal import Principal


class Part(msgspec.Struct, frozen=True):
    """A piece as splitting gives it."""

    text: str
    start: int = 0
    end: int = 0
    page: int | None = None
    headings: tuple[str, ...] = ()


def parts(texts: Sequence[str | Part]) -> list[Part]:
    """Pieces that stand one behind the other."""
    out: list[Part] = []
    for given in texts:
        part = given if isinstance(given, Part) else Part(given)
        start = out[-1].end if out else 0
        out.append(msgspec.structs.replace(part, start=start, end=start + len(part.text)))
    return out


async def person(connection: AsyncConnection, user_id: str, role: str = "user", **more: Any) -> Principal:
    email = f"{user_id}@example.com"
    await users.insert(connection, {"id": user_id, "email": email, "name": user_id, "role": role})
    return Principal(id=user_id, role=role, name=user_id, email=email, **more)  # type: ignore[arg-type]


async def file(
    connection: AsyncConnection, owner: str, file_id: str, texts: Sequence[str | Part], *, name: str | None = None
) -> int:
    """A file with a document; gives the document's number."""
    name = name or f"{file_id}.txt"
    digest = hashlib.sha256(file_id.encode()).hexdigest()
    new = files.NewFile(id=file_id, filename=name, blob=digest, size=1, mime="text/plain", embedded=False)
    await files.add(connection, owner, [new])
    return await document(connection, texts, file_id=file_id, name=name)


async def document(connection: AsyncConnection, texts: Sequence[str | Part], **about: Any) -> int:
    given = {"name": "text", "hash": "h", "splitting": "s"} | about
    return await documents.replace(connection, NewDocument(**given), parts(texts))


async def base(connection: AsyncConnection, owner: str, knowledge_id: str, file_ids: Sequence[str] = ()) -> None:
    """A knowledge base with files."""
    row = {
        "id": knowledge_id,
        "user_id": owner,
        "name": knowledge_id,
        "description": "",
        "created_at": 1,
        "updated_at": 1,
    }
    await connection.execute(tables.knowledge.insert(), row)
    await fill(connection, knowledge_id, file_ids)


async def fill(connection: AsyncConnection, knowledge_id: str, file_ids: Sequence[str]) -> None:
    """Puts files into a knowledge base."""
    rows = [
        {"id": f"{knowledge_id}/{f}", "knowledge_id": knowledge_id, "file_id": f, "created_at": 1, "updated_at": 1}
        for f in file_ids
    ]
    if rows:
        await connection.execute(tables.knowledge_file.insert(), rows)
        await documents.changed(connection, [knowledge_id])


async def grant(connection: AsyncConnection, knowledge_id: str, user_id: str, permission: str = "read") -> None:
    row = {
        "id": f"{knowledge_id}/{user_id}/{permission}",
        "resource_type": "knowledge",
        "resource_id": knowledge_id,
        "principal_type": "user",
        "principal_id": user_id,
        "permission": permission,
        "created_at": 1,
    }
    await connection.execute(tables.access_grant.insert(), row)
