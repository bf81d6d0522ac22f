"""The web: searched, and its pages read. Offered where the person switched the search on for the question."""

from typing import Any, Final

from open_webui.models.scopes import Scope
from open_webui.schemas.web import UrlForm
from open_webui.services import web
from open_webui.services.builtin.knowledge import tell
from open_webui.services.builtin.row import Use

_MOST_SHOWN: Final = 24_000


async def search(use: Use) -> Any:
    library, principal, query = use.deps.library, use.asked.principal, use.text("query", limit=500)
    found = await library.search_web(principal, [query])
    collections = tuple(found["collection_names"])
    if not collections:
        return {"items": found["items"], "pages": [doc["content"][:4_000] for doc in found.get("docs", ())]}
    hits = await library.search(principal, [query], Scope(collections=collections))
    return await tell(use, hits[: use.number("count", 5, least=1, most=20)])


async def fetch(use: Use) -> dict[str, Any]:
    read = await web.page(use.deps, use.asked.principal, UrlForm(url=use.text("url")), store=False)
    content = read["content"]
    return {"url": read["url"], "name": read["name"], "content": content[:_MOST_SHOWN], "length": len(content)}
