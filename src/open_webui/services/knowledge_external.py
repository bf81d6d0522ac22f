"""Knowledge in other services: connections that administrators make, and bases that are found through them."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast, get_args
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import aiohttp
import msgspec

from open_webui.errors import BadRequest, NotFound, OuiError, Unavailable
from open_webui.internal.db import UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.models import knowledge, knowledge_connections
from open_webui.models.base import clean_json
from open_webui.models.knowledge_connections import Connection, Outsider
from open_webui.principal import Principal
from open_webui.retrieval import external
from open_webui.retrieval.external import Engine, Outside, Passage, Source
from open_webui.retrieval.search import Found
from open_webui.schemas.knowledge_external import (
    ConnectionForm,
    ExternalCreateForm,
    SourceCreateForm,
    SourceForm,
    SourceUpdateForm,
)
from open_webui.services import knowledge_places

if TYPE_CHECKING:
    from open_webui.services.retrieval import Retrieval

log = get_logger(__name__)
UNKNOWN_ENGINE: Final = "Only these services are known: {}."
BAD_ADDRESS: Final = "The endpoint should be an address like {}."
IN_USE: Final = "Knowledge bases are found through this connection: {}. Delete them first."
NOTHING_FOUND: Final = (
    "Nothing was found for the test question. Check the source's fields, and that its vectors come from the embedding model"
    " of this server."
)
NO_SOURCE: Final = "Name the source that is to be searched."
ADDRESSES: Final = {
    "qdrant": "https://qdrant.example.com",
    "milvus": "http://milvus.example.com:19530",
    "pgvector": "postgresql://user:password@host:5432/db",
}
MASK: Final = "***"
Wire = dict[str, Any]


class Deps(knowledge_places.Deps, Protocol):
    """What it needs of the state."""

    http: aiohttp.ClientSession

    @property
    def retrieval(self) -> "Retrieval": ...


class Secrets(msgspec.Struct):
    """What is sealed of a connection. auth: as it was sent. password: of the endpoint."""

    auth: Wire = {}
    password: str = ""


# Connections


def wire(row: Connection) -> Wire:
    """A connection as administrators see it: what only the server reads is not in it."""
    shown = msgspec.structs.asdict(row)
    has_password = row.provider == "pgvector" and row.sealed is not None
    return {n: v for n, v in shown.items() if n != "sealed"} | {
        "endpoint": _with_password(row.endpoint, MASK) if has_password else row.endpoint
    }


async def every(deps: Deps) -> Wire:
    async with deps.database.read() as connection:
        rows = await knowledge_connections.every(connection)
    return {"items": [wire(row) for row in rows], "total": len(rows)}


async def get(deps: Deps, connection_id: str) -> Wire:
    """Raises NotFound."""
    return wire(await _row(deps, connection_id))


async def _row(deps: Deps, connection_id: str) -> Connection:
    async with deps.database.read() as connection:
        row = await knowledge_connections.get(connection, connection_id)
    if row is None:
        raise NotFound
    return row


async def put(deps: Deps, form: ConnectionForm, connection_id: str | None = None) -> Wire:
    """Makes a connection, or changes one. Raises NotFound, BadRequest."""
    async with deps.database.write() as unit:
        return wire(await _put(deps, unit, form, connection_id))


async def _put(deps: Deps, unit: UnitOfWork, form: ConnectionForm, connection_id: str | None = None) -> Connection:
    stored = None
    if connection_id is not None:
        stored = await knowledge_connections.get(unit.connection, connection_id, lock=True)
        if stored is None:
            raise NotFound
    endpoint, secrets = _given(deps, form, stored)
    sealed = deps.sealer.seal(msgspec.json.encode(secrets).decode(), _SEALED_FOR) if secrets != Secrets() else None
    values = {"name": form.name, "provider": form.provider, "endpoint": endpoint, "sealed": sealed,
              "config": clean_json(form.config or {}), "capabilities": clean_json(form.capabilities or {}),
              "enabled": form.enabled}  # fmt: skip
    made = await knowledge_connections.put(unit.connection, values, connection_id)
    row = await knowledge_connections.get(unit.connection, made)
    assert row is not None, "it was just stored"
    return row


_SEALED_FOR: Final = "knowledge connections"


def _given(deps: Deps, form: ConnectionForm, stored: Connection | None) -> tuple[str, Secrets]:
    """The endpoint without its password, and what is to be sealed. What is not sent anew stays. Raises BadRequest."""
    if form.provider not in get_args(Engine):
        raise BadRequest(UNKNOWN_ENGINE.format(", ".join(get_args(Engine))))
    endpoint, password = _split(form.endpoint, form.provider)
    kept = _secrets(deps, stored) if stored is not None else Secrets()
    if password in {"", MASK}:
        # A password is kept for the place that it was given for.
        password = kept.password if stored is not None and stored.endpoint == endpoint else ""
    auth = kept.auth if form.auth_config is None else clean_json(form.auth_config)
    return endpoint, Secrets(auth, password)


def _split(endpoint: str, provider: str) -> tuple[str, str]:
    try:
        parts = urlsplit(endpoint.strip())
        host, password = parts.hostname, parts.password
    except ValueError:
        host = None
    schemes = {"postgresql", "postgres"} if provider == "pgvector" else {"http", "https"}
    if not host or parts.scheme not in schemes:
        raise BadRequest(BAD_ADDRESS.format(ADDRESSES[provider]))
    before, _, place = parts.netloc.rpartition("@")
    netloc = f"{before.partition(':')[0]}@{place}" if before else place
    return urlunsplit(parts._replace(netloc=netloc)), unquote(password or "")


def _with_password(endpoint: str, password: str) -> str:
    parts = urlsplit(endpoint)
    user, at, place = parts.netloc.rpartition("@")
    if not password or not at:
        return endpoint
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{place}"))


def _secrets(deps: Deps, row: Connection) -> Secrets:
    """What is sealed of a connection; nothing where the server's secret is another by now."""
    text = deps.sealer.unseal(row.sealed, _SEALED_FOR) if row.sealed else None
    return Secrets() if text is None else msgspec.json.decode(text, type=Secrets)


async def delete(deps: Deps, connection_id: str) -> bool:
    """Raises NotFound, and BadRequest where bases are found through it."""
    async with deps.database.write() as unit:
        if await knowledge_connections.get(unit.connection, connection_id, lock=True) is None:
            raise NotFound
        count = await knowledge_connections.used_by(unit.connection, connection_id)
        if count:
            raise BadRequest(IN_USE.format(count))
        await knowledge_connections.delete(unit.connection, connection_id)
    return True


# Asking


def _outside(deps: Deps, row: Connection) -> Outside:
    return _as_outside(row.provider, row.endpoint, _secrets(deps, row), row.config or {})


def _as_outside(provider: str, endpoint: str, secrets: Secrets, config: Wire) -> Outside:
    key, timeout, database = secrets.auth.get("api_key"), config.get("timeout"), config.get("db_name")
    seconds = float(timeout) if isinstance(timeout, int | float) and timeout > 0 else 30.0
    return Outside(
        engine=cast("Engine", provider),
        endpoint=_with_password(endpoint, quote(secrets.password, safe="")),
        key=key if isinstance(key, str) else "",
        timeout=min(seconds, external.MAX_TIMEOUT),
        database=database if isinstance(database, str) else "",
    )


def source_of(given: Wire) -> Source:
    """What is searched, as a base's meta or a form has it."""
    config = given.get("config")
    named = config if isinstance(config, dict) else {}

    def text(name: str) -> str:
        value = named.get(name)
        return value if isinstance(value, str) else ""

    return Source(
        name=str(given.get("name") or ""),
        content=text("content_field"),
        vector=text("vector_field"),
        metadata=text("metadata_field"),
        document_id=text("document_id_field"),
        table=text("table_name"),
        collection=text("collection_field"),
    )


async def check(deps: Deps, connection_id: str) -> Wire:
    """Whether the service answers. Raises NotFound, BadRequest."""
    await external.check(deps.http, _outside(deps, await _row(deps, connection_id)))
    return {"status": True}


async def try_source(deps: Deps, connection_id: str, query: str, source: SourceForm | None, count: int) -> Wire:
    """What a question finds. Raises NotFound, BadRequest."""
    if source is None:
        raise BadRequest(NO_SOURCE)
    outside = _outside(deps, await _row(deps, connection_id))
    return _found(await _find(deps, outside, source.model_dump(), query, count))


async def try_unsaved(
    deps: Deps, form: ConnectionForm, source: SourceForm, query: str, count: int, connection_id: str | None
) -> Wire:
    """The same of a connection that is not stored yet, or with these changes. Raises NotFound, BadRequest."""
    stored = await _row(deps, connection_id) if connection_id else None
    endpoint, secrets = _given(deps, form, stored)
    outside = _as_outside(form.provider, endpoint, secrets, form.config or {})
    return _found(await _find(deps, outside, source.model_dump(), query, count))


def _found(passages: Sequence[Passage]) -> Wire:
    return {
        "documents": [one.text for one in passages],
        "metadatas": [one.meta | {"source": one.source} for one in passages],
        "distances": [one.score for one in passages],
    }


async def _find(deps: Deps, outside: Outside, source: Wire, query: str, count: int) -> list[Passage]:
    return await external.find(deps.http, outside, source_of(source), await _vector(deps, query), count)


async def _vector(deps: Deps, query: str) -> bytes:
    embedder = deps.retrieval.embedder()
    if embedder is None:
        raise Unavailable(
            f"Other services are searched by vectors, and nothing makes any here. {deps.retrieval.problem}"
        )
    (vector,) = await embedder.embed([query], query=True)
    return vector


# Bases


async def create_base(deps: Deps, principal: Principal, form: ExternalCreateForm) -> Wire:
    """A base on a connection that is there. Raises NotFound."""
    async with deps.database.write() as unit:
        row = await knowledge_connections.get(unit.connection, form.connection_id, lock=True)
        if row is None:
            raise NotFound
        return await _create(unit, principal, form, row)


async def create_source(deps: Deps, principal: Principal, form: SourceCreateForm) -> Wire:
    """A connection and a base on it, once the test question finds something. Raises BadRequest."""
    await _tried(deps, form, None)
    async with deps.database.write() as unit:
        return await _create(unit, principal, form, await _put(deps, unit, form.connection))


async def _create(
    unit: UnitOfWork, principal: Principal, form: ExternalCreateForm | SourceCreateForm, row: Connection
) -> Wire:
    values = form.about() | {"meta": _meta(row, form.source), "connection_id": row.id}
    made = await knowledge.repository.create(unit.connection, principal.id, values)
    assert made is not None, "a new id is taken by nobody"
    await knowledge.repository.set_grants(unit.connection, principal, made.id, form.access_grants or (), strict=False)
    return await _stored(unit, made.id)


async def _stored(unit: UnitOfWork, knowledge_id: str) -> Wire:
    row = await knowledge.repository.get(unit.connection, knowledge_id)
    if row is None:
        raise NotFound
    return msgspec.structs.asdict(row) | {"files": None}


def _meta(row: Connection, source: SourceForm) -> Wire:
    outside = {"connection_id": row.id, "provider": row.provider, "auth_mode": "service_account"}
    return {"source": "external", "external": outside | {"source": clean_json(source.model_dump())}}


async def update_source(deps: Deps, knowledge_id: str, form: SourceUpdateForm) -> Wire:
    """Changes a base and its connection, once the test question finds something. Raises NotFound, BadRequest."""
    async with deps.database.read() as connection:
        connection_id = await knowledge.connection_of(connection, knowledge_id)
    if connection_id is None:
        raise NotFound
    await _tried(deps, form, connection_id)
    async with deps.database.write() as unit:
        row = await _put(deps, unit, form.connection, connection_id)
        values = form.about() | {"meta": _meta(row, form.source)}
        await knowledge.repository.change(unit.connection, knowledge_id, values)
        return await _stored(unit, knowledge_id)


async def _tried(deps: Deps, form: SourceUpdateForm, connection_id: str | None) -> None:
    found = await try_unsaved(deps, form.connection, form.source, form.test_query, form.test_count, connection_id)
    if not found["documents"]:
        raise BadRequest(NOTHING_FOUND)


# Questions


async def search(
    deps: Deps, principal: Principal, knowledge_ids: Sequence[str], question: str, limit: int
) -> list[Found]:
    """Asks the services of those of some bases that the principal may read and that are found elsewhere.

    Gives passages, the best first, as of a collection with the base's id. A service that fails takes nothing from the others.
    """
    async with deps.database.read() as connection:
        bases = await knowledge_connections.readable(connection, principal, knowledge_ids)
    embedder = deps.retrieval.embedder() if bases else None
    if embedder is None:
        return []
    (vector,) = await embedder.embed([question], query=True)
    out: list[Found] = []

    async def one(base: Outsider) -> None:
        outside, source = _outside(deps, base.connection), source_of(base.source)
        try:
            passages = await external.find(deps.http, outside, source, vector, limit)
        except OuiError as error:
            log.warning("a service with knowledge could not be asked", base=base.id, reason=error.detail)
        else:
            out.extend(_as_found(base, passage) for passage in passages)

    await asyncio.gather(*(one(base) for base in bases))
    out.sort(key=lambda found: -found.score)
    return out[:limit]


def _as_found(base: Outsider, passage: Passage) -> Found:
    return Found(
        chunk_n=0,
        text=passage.text,
        document_n=0,
        file_id=None,
        collection=base.id,
        name=passage.source or base.name,
        url=None,
        page=None,
        headings=(),
        start=0,
        end=len(passage.text),
        score=passage.score,
        stages={"outside": passage.score},
        meta=passage.meta,
    )
