"""Small helps for pages: a picture's address by an e-mail address, and the database as a file."""

import hashlib
from typing import Annotated, Final

from fastapi import Query
from starlette.responses import Response, StreamingResponse

from open_webui.access.policy import ADMIN, USER
from open_webui.deps import AppState
from open_webui.errors import Forbidden
from open_webui.internal import acts
from open_webui.internal.db import database_url
from open_webui.routing import allow, new_router
from open_webui.schemas.replies.shape import Media
from open_webui.services import snapshot

router = new_router(prefix="/api/v1/utils", tag="utils")
GRAVATAR: Final = "https://www.gravatar.com/avatar/{}?d=mp"
Email = Annotated[str, Query(min_length=1, max_length=320)]


@router.get("/gravatar")
@allow(USER)
async def gravatar(email: Email) -> str:
    """The address at Gravatar of the picture of an e-mail address. Nobody is asked: it is made of the address's hash."""
    return GRAVATAR.format(hashlib.sha256(email.strip().lower().encode()).hexdigest())


@router.get("/db/download")
@allow(ADMIN.freshly_proven())
async def download(state: AppState) -> "Annotated[Response, Media('application/octet-stream')]":
    """The database as a file (SQLite only): a consistent copy that is made while the server goes on. Everybody's chats are in
    it, so the server must let admins export and see chats.
    """
    if not (state.settings.enable_admin_export and state.settings.enable_admin_chat_access):
        raise Forbidden
    acts.opened("database", "*", "*")
    url = database_url(state.settings)
    path = snapshot.file_of(url.drivername.partition("+")[0], url.database)
    copy = await snapshot.make(path)
    headers = {
        "content-disposition": 'attachment; filename="webui.db"',
        "content-length": str(copy.size),
        "cache-control": "no-store",
    }
    return StreamingResponse(copy.pieces(), media_type="application/octet-stream", headers=headers)
