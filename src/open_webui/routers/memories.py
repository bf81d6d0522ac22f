"""Memories: what people want models to know of them."""

from typing import Annotated, Any

from fastapi import Path

from open_webui import constants
from open_webui.access.policy import ADMIN, USER
from open_webui.deps import AppState, Caller
from open_webui.models.memories import Memory
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.memories import (
    AddMemoryForm,
    ListMemoryPathsForm,
    MemoryUpdateForm,
    QueryMemoryForm,
    ReadMemoryPathForm,
    SearchMemoriesForm,
    UpdateMemoriesForm,
)
from open_webui.schemas.replies.shape import Shape
from open_webui.services import memories

router = new_router(prefix="/api/v1/memories", tag="memories")
MemoryId = Annotated[str, Path(max_length=constants.MAX_ID)]
WRITE = USER.on("memory", "write").needs(memories.PERMISSION)
LOOK = USER.on("memory", "list").needs(memories.PERMISSION)


@router.get("/")
@allow(USER.on("memory", "list"))
async def list_memories(
    state: AppState, caller: Caller
) -> "Annotated[list[Memory], Shape(list[replies.memories.Memory])]":
    """One's memories, the newest change first. One sees them where memories are off as well."""
    return await memories.listed(state, caller)


@router.post("/add")
@allow(USER.on("memory", "create").needs(memories.PERMISSION))
async def add(
    state: AppState, caller: Caller, form: AddMemoryForm
) -> "Annotated[Memory, Shape(replies.memories.Memory)]":
    """Makes a memory; one that says the same already is answered as it is."""
    return await memories.add(state, caller, form)


@router.post("/update")
@allow(WRITE)
async def apply(
    state: AppState, caller: Caller, form: UpdateMemoriesForm
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.memories.Change])]":
    """Adds, replaces, moves and removes memories: all that is asked for, or nothing."""
    return await memories.apply(state, caller, form)


@router.post("/query")
@allow(LOOK)
async def query(
    state: AppState, caller: Caller, form: QueryMemoryForm
) -> "Annotated[dict[str, Any], Shape(replies.memories.Found)]":
    """Finds the memories that fit a question best."""
    return await memories.query(state, caller, form)


@router.post("/search")
@allow(LOOK)
async def search(
    state: AppState, caller: Caller, form: SearchMemoriesForm
) -> "Annotated[list[Memory], Shape(list[replies.memories.Memory])]":
    """Finds the memories that have some words, or are at a path."""
    return await memories.search(state, caller, form)


@router.post("/paths")
@allow(LOOK)
async def paths(
    state: AppState, caller: Caller, form: ListMemoryPathsForm
) -> "Annotated[dict[str, Any], Shape(replies.memories.MemoryPlaces)]":
    """Lists the paths that memories stand at."""
    return await memories.paths(state, caller, form)


@router.post("/path")
@allow(LOOK)
async def at_path(
    state: AppState, caller: Caller, form: ReadMemoryPathForm
) -> "Annotated[dict[str, Any], Shape(replies.memories.AtPath)]":
    """Reads the memories at a path."""
    return await memories.at_path(state, caller, form)


@router.post("/reindex")
@allow(ADMIN)
async def reindex(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.memories.Reindexed)]":
    """Has everybody's memories indexed anew, in the background."""
    accounts, count = await state.reindexing.begin_memories()
    return {"status": True, "total_users": accounts, "total_memories": count}


@router.post("/reset")
@allow(WRITE)
async def reset(state: AppState, caller: Caller) -> bool:
    """Has one's memories indexed anew. They stay as they are."""
    return await memories.reset(state, caller)


@router.delete("/delete/user")
@allow(USER.on("memory", "delete"))
async def clear(state: AppState, caller: Caller) -> bool:
    """Removes all of one's memories."""
    return await memories.clear(state, caller)


@router.post("/{memory_id}/update")
@allow(WRITE)
async def update(
    state: AppState, caller: Caller, memory_id: MemoryId, form: MemoryUpdateForm
) -> "Annotated[Memory, Shape(replies.memories.Memory)]":
    """Changes a memory's text, type or path; what is left out stays."""
    return await memories.update(state, caller, memory_id, form)


@router.delete("/{memory_id}")
@allow(USER.on("memory", "delete"))
async def delete(state: AppState, caller: Caller, memory_id: MemoryId) -> bool:
    """Removes a memory. False where there is none."""
    return await memories.delete(state, caller, memory_id)
