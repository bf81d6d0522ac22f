"""Knowledge in other services: administrators' connections, and the bases that are found through them."""

from typing import Annotated, Any

from fastapi import Path

from open_webui import constants
from open_webui.access.policy import ADMIN
from open_webui.deps import AppState, Caller
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.knowledge_external import (
    ConnectionForm,
    ExternalCreateForm,
    RetrieveTestForm,
    SourceCreateForm,
    SourceTestForm,
    SourceUpdateForm,
)
from open_webui.schemas.replies.shape import Shape
from open_webui.services import knowledge_external as external

router = new_router(prefix="/api/v1/knowledge/external", tag="knowledge")
ConnectionId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]


@router.get("/connections")
@allow(ADMIN)
async def connections(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.knowledge.Connections)]":
    """The services that knowledge is found in."""
    return await external.every(state)


@router.post("/connections")
@allow(ADMIN)
async def add_connection(
    form: ConnectionForm, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.Connection)]":
    """Connects a service: qdrant, milvus or pgvector."""
    return await external.put(state, form)


@router.get("/connections/{id}")
@allow(ADMIN)
async def connection(
    connection_id: ConnectionId, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.Connection)]":
    """A connection, without its key."""
    return await external.get(state, connection_id)


@router.patch("/connections/{id}")
@allow(ADMIN)
async def change_connection(
    connection_id: ConnectionId, form: ConnectionForm, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.Connection)]":
    """Changes a connection. A key that is not sent stays."""
    return await external.put(state, form, connection_id)


@router.delete("/connections/{id}")
@allow(ADMIN)
async def remove_connection(connection_id: ConnectionId, state: AppState) -> bool:
    """Removes a connection that no knowledge base is found through."""
    return await external.delete(state, connection_id)


@router.post("/connections/{id}/test")
@allow(ADMIN)
async def test_connection(
    connection_id: ConnectionId, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.server.Done)]":
    """Whether the service answers."""
    return await external.check(state, connection_id)


@router.post("/connections/{id}/retrieve-test")
@allow(ADMIN)
async def test_retrieval(
    connection_id: ConnectionId, form: RetrieveTestForm, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.Retrieved)]":
    """What a question finds in a service."""
    return await external.try_source(state, connection_id, form.query, form.source, form.count)


@router.post("/source/test")
@allow(ADMIN)
async def test_source(
    form: SourceTestForm, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.Retrieved)]":
    """What a question finds through a connection that is not stored yet, or has been changed."""
    return await external.try_unsaved(state, form.connection, form.source, form.query, form.count, form.connection_id)


@router.post("/knowledge/create")
@allow(ADMIN)
async def create_base(
    form: ExternalCreateForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.Base)]":
    """Makes a knowledge base that is found through a connection."""
    return await external.create_base(state, caller, form)


@router.post("/source/create")
@allow(ADMIN)
async def create_source(
    form: SourceCreateForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.Base)]":
    """Makes a connection and a knowledge base on it, if the test question finds something."""
    return await external.create_source(state, caller, form)


@router.patch("/source/{id}")
@allow(ADMIN)
async def update_source(
    knowledge_id: ConnectionId, form: SourceUpdateForm, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.knowledge.Base)]":
    """Changes a knowledge base with its connection, if the test question finds something."""
    return await external.update_source(state, knowledge_id, form)
