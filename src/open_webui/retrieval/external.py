"""Passages from outside: vector stores that somebody else fills, searched with a question's vector.

Their vectors must come from the embedding model that this server uses.
"""

import struct
from collections.abc import Mapping
from typing import Any, Final, Literal

import aiohttp
import msgspec

from open_webui.connections.services import call_service
from open_webui.errors import BadRequest, ProviderError
from open_webui.models import outside_vectors

Engine = Literal["qdrant", "milvus", "pgvector"]
MAX_TIMEOUT: Final = 120.0
MAX_PASSAGES: Final = 50
ODD: Final = "The service answered with something that is no list of passages. Check the fields of the source."


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """A service. endpoint: with a password, where its engine takes it there. timeout: seconds. database: Milvus' own."""

    engine: Engine
    endpoint: str
    key: str = ""
    timeout: float = 30.0
    database: str = ""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What of a service is searched, and where in what it answers the parts of a passage stand (`a.b` inside objects)."""

    name: str
    content: str
    vector: str = ""
    metadata: str = ""
    document_id: str = ""
    table: str = ""
    collection: str = ""


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A text that was found. score: the higher, the better. meta: what the service knows of it."""

    text: str
    id: str
    score: float
    meta: dict[str, Any]

    @property
    def source(self) -> str:
        """What a person knows it by."""
        for name in ("source", "name", "title", "file_name", "filename", "url"):
            if isinstance(self.meta.get(name), str) and self.meta[name]:
                return str(self.meta[name])
        return self.id


async def find(
    http: aiohttp.ClientSession, outside: Outside, source: Source, vector: bytes, limit: int
) -> list[Passage]:
    """The passages nearest to a vector (packed float32, little-endian), the best first.

    Raises ProviderError, and BadRequest for a source that names no place.
    """
    numbers = list(struct.unpack(f"<{len(vector) // 4}f", vector))
    limit = max(1, min(limit, MAX_PASSAGES))
    match outside.engine:
        case "qdrant":
            points = await _qdrant(http, outside, source, numbers, limit)
        case "milvus":
            points = await _milvus(http, outside, source, numbers, limit)
        case "pgvector":
            points = await _pgvector(outside, source, numbers, limit)
    found = [_passage(point, source) for point in points[:limit]]
    return [passage for passage in found if passage is not None]


async def check(http: aiohttp.ClientSession, outside: Outside) -> None:
    """Whether a service answers. Raises ProviderError."""
    match outside.engine:
        case "qdrant":
            await _ask(http, outside, "GET", "/collections", None, {"api-key": outside.key})
        case "milvus":
            await _ask_milvus(http, outside, "/v2/vectordb/collections/list", {})
        case "pgvector":
            await outside_vectors.check(outside.endpoint, outside.timeout)


async def _ask(
    http: aiohttp.ClientSession, outside: Outside, method: str, path: str, body: Any, headers: Mapping[str, str]
) -> Any:
    answer = await call_service(
        http,
        method,
        outside.endpoint.rstrip("/") + path,
        headers=headers if outside.key else {},
        payload=body,
        timeout=outside.timeout,
        secrets=(outside.key,),
    )
    try:
        return msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProviderError(ODD) from None


async def _qdrant(
    http: aiohttp.ClientSession, outside: Outside, source: Source, vector: list[float], limit: int
) -> list[dict[str, Any]]:
    path = f"/collections/{_segment(source.name)}/points/query"
    body = {"query": vector, "limit": limit, "with_payload": True} | ({"using": source.vector} if source.vector else {})
    answer = await _ask(http, outside, "POST", path, body, {"api-key": outside.key})
    return _objects(answer, "result", "points")


def _segment(name: str) -> str:
    if not name or "/" in name or name in {".", ".."}:
        raise BadRequest("This is no name of a collection.")
    return name


async def _ask_milvus(http: aiohttp.ClientSession, outside: Outside, path: str, body: dict[str, Any]) -> Any:
    body |= {"dbName": outside.database} if outside.database else {}
    answer = await _ask(http, outside, "POST", path, body, {"authorization": f"Bearer {outside.key}"})
    if isinstance(answer, dict) and answer.get("code") not in {0, 200, None}:
        # It says so with a good status.
        raise ProviderError(f"Milvus refused: {str(answer.get('message'))[:500]}")
    return answer


async def _milvus(
    http: aiohttp.ClientSession, outside: Outside, source: Source, vector: list[float], limit: int
) -> list[dict[str, Any]]:
    body = {"collectionName": source.name, "data": [vector], "annsField": source.vector, "limit": limit,
            "outputFields": ["*"]}  # fmt: skip
    answer = await _ask_milvus(http, outside, "/v2/vectordb/entities/search", body)
    return _objects(answer, "data")


async def _pgvector(outside: Outside, source: Source, vector: list[float], limit: int) -> list[dict[str, Any]]:
    return await outside_vectors.find(
        outside.endpoint,
        outside_vectors.Columns(
            table=source.table,
            collection=source.collection,
            vector=source.vector,
            content=source.content,
            metadata=source.metadata,
            document_id=source.document_id,
        ),
        source.name,
        vector,
        limit,
        outside.timeout,
    )


def _objects(answer: Any, *path: str) -> list[dict[str, Any]]:
    for name in path:
        answer = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(answer, list):
        raise ProviderError(ODD)
    return [one for one in answer if isinstance(one, dict)]


def _at(point: Any, path: str) -> Any:
    """What stands at a path in an object; a path that names its whole first step also finds a column of that name."""
    if isinstance(point, dict) and path in point:
        return point[path]
    for name in path.split(".") if path else ():
        if isinstance(point, str):
            # Some stores keep objects as their JSON.
            point = _decoded(point)
        point = point.get(name) if isinstance(point, dict) else None
    return point if path else None


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _passage(point: dict[str, Any], source: Source) -> Passage | None:
    text = _at(point, source.content)
    if not isinstance(text, str) or not text.strip():
        return None
    meta = _at(point, source.metadata)
    if isinstance(meta, str):
        meta = _decoded(meta)
    score = point.get("score", point.get("distance", 0.0))
    found = _at(point, source.document_id)
    return Passage(
        text=text,
        id="" if found is None else str(found)[:500],
        score=float(score) if isinstance(score, int | float) else 0.0,
        meta=meta if isinstance(meta, dict) else {},
    )
