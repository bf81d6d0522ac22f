"""One's own chats: searched, and read."""

from typing import Any, Final

from open_webui.errors import NotFound
from open_webui.models import search
from open_webui.services.builtin.row import Use

# Characters of a chat that are read at once.
_MOST: Final = 24_000


async def find(use: Use) -> list[dict[str, Any]]:
    begin, end = use.number("start_timestamp", 0, most=2**62), use.number("end_timestamp", 2**62, most=2**62)
    count = use.number("count", 5, least=1, most=20)
    query = search.parse(use.text("query"))
    async with use.deps.database.read() as connection:
        # Those of other times are left out of what was found.
        size = count if (begin, end) == (0, 2**62) else 200
        hits = await search.chats(connection, use.asked.principal.id, query, page=1, size=size)
        hits = [hit for hit in hits if begin <= hit.row.updated_at <= end and hit.row.id != use.asked.chat_id][:count]
        previews = await search.previews(connection, [hit.row.id for hit in hits if hit.message_id is None])
    return [
        {
            "id": hit.row.id,
            "title": hit.row.title,
            "snippet": hit.row.snippet or previews.get(hit.row.id, ""),
            "updated_at": hit.row.updated_at,
        }
        for hit in hits
    ]


async def view(use: Use) -> dict[str, Any]:
    chat_id = use.text("chat_id", limit=200)
    chat = await use.deps.library.transcript(use.asked.principal, chat_id, _MOST)
    if chat is None:
        raise NotFound("There is no such chat, or it is not yours to read.")
    return {"id": chat_id, "title": chat.name, "content": chat.text, "is_cut": chat.is_cut}
