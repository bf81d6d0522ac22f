"""One search over all that a person has."""

from typing import Annotated, Any, Literal

from fastapi import Query

from open_webui.access.policy import USER
from open_webui.deps import AppState, Caller
from open_webui.models import search
from open_webui.models.search import Hit
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Shape

router = new_router(prefix="/api/v1", tag="search")
PAGE = 20


@router.get("/search")
@allow(USER.on("chat", "search"))
async def find(
    state: AppState,
    caller: Caller,
    *,
    q: Annotated[str, Query(max_length=500)] = "",
    kind: Literal["all", "chat", "message", "note"] = "all",
    sharing: Literal["all", "mine", "shared"] = "all",
    scope: Annotated[str, Query(max_length=200)] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> "Annotated[dict[str, Any], Shape(replies.chats.SearchPage)]":
    """Chats whose title or messages have the words, newest first; without words the newest chats."""
    hits: list[Hit] = []
    previews: dict[str, str] = {}
    # Scopes are places that other resources will add; chats have none.
    if kind != "note" and not scope:
        query = search.parse(q)
        if sharing != "all":
            query = search.only_shared(query, sharing == "shared")
        async with state.database.read() as connection:
            hits = await search.chats(connection, caller.id, query, page=page, size=PAGE, one_more=True)
            previews = await search.previews(connection, [hit.row.id for hit in hits if hit.message_id is None])
    items = [_item(hit, previews.get(hit.row.id, "")) for hit in hits[:PAGE]]
    if kind == "message":
        items = [item for item in items if "?message=" in item["url"]]
    return {"items": items, "has_more": len(hits) > PAGE, "scopes": [], "kinds": ["chat", "message", "note"]}


def _item(hit: Hit, preview: str) -> dict[str, Any]:
    text = hit.row.snippet or preview
    url = f"/c/{hit.row.id}"
    return {
        "id": f"chat:{hit.row.id}",
        "kind": "chat",
        "title": hit.row.title,
        "context": "Personal chat",
        "snippet": text,
        "preview": text,
        "url": url if hit.message_id is None else f"{url}?message={hit.message_id}",
        "updated_at": hit.row.updated_at,
        "shared": hit.share_id is not None,
        "pinned": hit.pinned,
    }
