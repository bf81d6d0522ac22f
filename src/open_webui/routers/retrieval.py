"""How documents are read and found: settings, and questions to collections. Processing is in processing.py and web.py."""

from typing import Annotated, Any

from fastapi import Request

from open_webui.access.policy import ADMIN, USER
from open_webui.deps import AppState, Caller
from open_webui.routers.configs import save
from open_webui.routing import allow, json_object, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Shape
from open_webui.schemas.retrieval import DeleteForm, EmbeddingForm, QueryCollections, QueryDoc
from open_webui.services import reindexing, uploads
from open_webui.services import retrieval_settings as settings

router = new_router(prefix="/api/v1/retrieval", tag="retrieval")


@router.get("/config")
@allow(ADMIN)
async def config(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.retrieval.Config)]":
    """How files are read, split and found, and which engines search the web."""
    return settings.documents(state.config)


@router.post("/config/update")
@allow(ADMIN)
async def set_config(
    request: "Annotated[Request, Shape(replies.retrieval.ConfigForm)]", state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.retrieval.Config)]":
    """Changes the settings that are given; the others stay."""
    await save(state, settings.documents_changes(await json_object(request), state.config))
    return settings.documents(state.config)


@router.get("/embedding")
@allow(ADMIN)
async def embedding(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.retrieval.Embedding)]":
    """Which engine and model make vectors."""
    return settings.embedding(state.config)


@router.post("/embedding/update")
@allow(ADMIN)
async def set_embedding(
    form: EmbeddingForm, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.retrieval.Embedding)]":
    """Changes which engine and model make vectors. With another one, what is there is embedded anew in the background."""
    await save(state, settings.embedding_changes(form))
    state.retrieval.look_again()
    await state.indexing.changed()
    return settings.embedding(state.config)


@router.get("/state")
@allow(ADMIN)
async def state_of_it(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.retrieval.State)]":
    """How documents are found now: by which engine, how many there are, and how many of them have vectors of it."""
    return await state.library.state()


@router.post("/query/doc")
@allow(USER.on("knowledge", "search"))
async def query_doc(
    form: QueryDoc, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any] | None, Shape(replies.retrieval.DocHits | None)]":
    """The passages of one collection that fit a question best; null where there is no such collection for the caller.

    With `trace` also why: what each stage of the search said of which passage.
    """
    found = await state.library.query(caller, [form.collection_name], form)
    if found is None:
        return None
    return {"ids": [[str(n) for n in found.numbers]], **found.wire}


@router.post("/query/collection")
@allow(USER.on("knowledge", "search"))
async def query_collection(
    form: QueryCollections, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.retrieval.CollectionHits)]":
    """The passages of several collections that fit a question best, over all of them. trace: as for `query/doc`."""
    found = await state.library.query(caller, form.collection_names, form)
    return found.wire if found is not None else {"distances": [[]], "documents": [[]], "metadatas": [[]]}


@router.post("/delete")
@allow(USER.on("file", "write"))
async def delete(form: DeleteForm, state: AppState, caller: Caller) -> dict[str, bool]:
    """Takes a file out of what is found of a collection: out of a knowledge base, or out of the index where it is the file's
    own (`file-` and its id). The file itself stays.
    """
    await reindexing.leave_out(state, caller, form.collection_name, form.file_id)
    return {"status": True}


@router.post("/reset/db")
@allow(ADMIN)
async def reset_index(state: AppState) -> bool:
    """Removes all vectors, and has all documents and vectors made anew in the background from the texts that are kept.

    Until it is done, what was indexed before is found by its words.
    """
    await state.reindexing.begin(are_vectors=True)
    return True


@router.post("/reset/uploads")
@allow(ADMIN)
async def reset_uploads(state: AppState) -> bool:
    """Removes all files that people uploaded, with what was taken out of them: as `DELETE /api/v1/files/all`."""
    await uploads.delete_all(state)
    return True
