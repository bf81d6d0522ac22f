"""Models of this machine, for administrators: what there is and how it is, adding and removing, loading and unloading."""

from typing import Annotated, Any

from fastapi import Path, Query

from open_webui.access.policy import ADMIN
from open_webui.constants import MAX_ID
from open_webui.deps import AppState
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.llamaforge import AddLocalModel
from open_webui.schemas.replies.shape import Shape

router = new_router(prefix="/api/v1/llamaforge", tag="llamaforge")
# With slashes: files may lie in folders of the folder.
Name = Annotated[str, Path(min_length=1, max_length=MAX_ID)]


@router.get("/models")
@allow(ADMIN.on("local_model", "list"))
async def models(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.local.LocalModels)]":
    """All models, those that can't be used too, with their state; the memory that they take; the engines."""
    return await state.llamaforge.listed()


@router.post("/models")
@allow(ADMIN.on("local_model", "create"))
async def add(form: AddLocalModel, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.local.LocalModel)]":
    """Adds a model, and begins to download it where it has to come from elsewhere."""
    return await state.llamaforge.add(form)


@router.get("/models/{name:path}")
@allow(ADMIN.on("local_model", "read"))
async def model(name: Name, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.local.LocalModel)]":
    """One model: its state, with the progress of what is going on."""
    return await state.llamaforge.one(name)


@router.delete("/models/{name:path}")
@allow(ADMIN.on("local_model", "delete"))
async def remove(
    name: Name, state: AppState, files: Annotated[bool, Query()] = False
) -> "Annotated[dict[str, Any], Shape(replies.server.Done)]":
    """Unloads and forgets a model that was added; with `files` what lies in the folder of models goes too."""
    await state.llamaforge.remove(name, files=files)
    return {"status": True}


@router.post("/models/{name:path}/download")
@allow(ADMIN.on("local_model", "write"))
async def download(name: Name, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.local.LocalModel)]":
    """Goes on with a download that stopped halfway."""
    return await state.llamaforge.download(name)


@router.post("/models/{name:path}/cancel")
@allow(ADMIN.on("local_model", "write"))
async def cancel(name: Name, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.local.LocalModel)]":
    """Stops a download or a load. What has arrived of a download is kept."""
    return await state.llamaforge.cancel(name)


@router.post("/models/{name:path}/load")
@allow(ADMIN.on("local_model", "write"))
async def load(name: Name, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.local.LocalModel)]":
    """Begins to load a model; its state tells how that goes."""
    return await state.llamaforge.load(name)


@router.post("/models/{name:path}/unload")
@allow(ADMIN.on("local_model", "write"))
async def unload(name: Name, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.local.LocalModel)]":
    """Ends a model's process. Answers that are being written with it are cut off."""
    return await state.llamaforge.unload(name)
