"""Reading files and texts into collections while somebody waits for it."""

import hashlib
from typing import Any, Final, Protocol

from open_webui.errors import BadRequest, NotFound, OuiError
from open_webui.models.base import clean, now
from open_webui.models.uploads import Upload
from open_webui.principal import Principal
from open_webui.schemas.files import BatchForm, ProcessFileForm, ProcessTextForm
from open_webui.schemas.knowledge import KnowledgeFileForm
from open_webui.services import knowledge, uploads
from open_webui.services.deps import Deps as ServiceDeps
from open_webui.services.ingestion import Ingestion

# Seconds after which a text goes that somebody put into a collection of their own.
KEPT_SECONDS: Final = 90 * 86_400
GONE: Final = "The file was deleted while it was read."


class Deps(ServiceDeps, Protocol):
    """What it needs of the state."""

    ingestion: Ingestion


async def file(deps: Deps, principal: Principal, form: ProcessFileForm) -> dict[str, Any]:
    """Raises NotFound for a file that the caller may not change, BadRequest for one that can't be read."""
    if form.content is None:
        found = await uploads.read_again(deps, principal, form.file_id)
    else:
        found = await uploads.set_text(deps, principal, form.file_id, form.content)
    found = await _finished(deps, found.id)
    collection = form.collection_name or uploads.collection_of(found.id)
    if collection != uploads.collection_of(found.id):
        await _put_into(deps, principal, collection, found.id)
    return {
        "status": True,
        "collection_name": collection,
        "filename": found.filename,
        "content": await uploads.text_of(deps, found) or "",
    }


async def _finished(deps: Deps, file_id: str) -> Upload:
    found = await deps.ingestion.finished(file_id)
    if found is None:
        raise NotFound(GONE)
    if found.status == "failed":
        raise BadRequest(found.data.get("error"))
    return found


async def _put_into(deps: Deps, principal: Principal, knowledge_id: str, file_id: str) -> None:
    await knowledge.add_files(deps, principal, knowledge_id, [KnowledgeFileForm(file_id=file_id)])


async def batch(deps: Deps, principal: Principal, form: BatchForm) -> dict[str, Any]:
    """Those that can't be read or put there are among `errors`, each with the reason."""
    done, wrong = [], []
    for given in form.files:
        try:
            found = await uploads.require(deps, principal, given.id, "write")
            if found.status in {None, "failed"}:
                await uploads.read_again(deps, principal, given.id)
            await _finished(deps, given.id)
            await _put_into(deps, principal, form.collection_name, given.id)
        except OuiError as error:
            wrong.append({"file_id": given.id, "status": "failed", "error": error.detail})
        else:
            done.append({"file_id": given.id, "status": "completed", "error": None})
    return {"results": done, "errors": wrong}


async def text(deps: Deps, principal: Principal, form: ProcessTextForm) -> dict[str, Any]:
    """Raises BadRequest for a text without words."""
    content = clean(form.content)
    if not content.strip():
        raise BadRequest("There is no text to keep.")
    collection = form.collection_name or hashlib.sha256(content.encode()).hexdigest()
    await deps.ingestion.keep_text(principal.id, collection, form.name, content, expires_at=now() + KEPT_SECONDS)
    return {"status": True, "collection_name": collection, "content": content}
