"""Pages of the web, put into collections of the one who asks; and what search engines find."""

import asyncio
import hashlib
from typing import Any, Final, Protocol

import aiohttp

from open_webui import constants
from open_webui.errors import BadRequest, Forbidden, OuiError
from open_webui.internal.guarded_http import Unreachable
from open_webui.internal.log import get_logger
from open_webui.models.base import now
from open_webui.principal import Principal
from open_webui.retrieval.parsing.base import ParseError
from open_webui.retrieval.parsing.readers import Readers
from open_webui.retrieval.web.pages import Pages, Read, video_of
from open_webui.retrieval.web.search import WebHit, search_web
from open_webui.schemas.web import SearchForm, UrlForm
from open_webui.services.processing import KEPT_SECONDS
from open_webui.services.processing import Deps as ProcessingDeps

log = get_logger(__name__)
# Seconds after which what a search found goes.
FOUND_SECONDS: Final = 7 * 86_400
MOST_QUERIES: Final = 10


class Deps(ProcessingDeps, Protocol):
    """What it needs of the state."""

    readers: Readers
    http: aiohttp.ClientSession


async def page(deps: Deps, principal: Principal, form: UrlForm, *, store: bool) -> dict[str, Any]:
    """Reads what lies at an address. store: puts it into a collection, in the place of what was read there before.

    Raises Forbidden without the right to, BadRequest for what can't be read.
    """
    if not principal.may("chat.web_upload"):
        raise Forbidden
    try:
        read = await _pages(deps).read(form.url)
    except Unreachable as error:
        log.info("a page could not be read", why=str(error))
        # As the wire has it: why is not told, since it would tell what there is in the server's network.
        raise BadRequest(f"[ERROR: Could not read content from {form.url[:2_000]}]") from None
    except ParseError as error:
        raise BadRequest(str(error)) from None
    collection = form.collection_name or hashlib.sha256(form.url.encode("utf-8", "surrogatepass")).hexdigest()[:63]
    if store:
        await _keep(deps, principal, collection, read, KEPT_SECONDS)
    return {
        "status": True,
        "type": "youtube" if video_of(form.url) else "web",
        "name": read.name,
        "url": form.url,
        "filename": form.url,
        "collection_name": collection if store else None,
        "content": read.text,
        "file": {"data": {"content": read.text}, "meta": {"name": read.name, "source": form.url}},
    }


async def search(deps: Deps, principal: Principal, form: SearchForm) -> dict[str, Any]:
    """Searches the web, reads what is found, and puts it into a collection that goes after some days.

    Raises Forbidden where searching is off or not the caller's right, BadRequest and ProviderError where no query could be
    asked.
    """
    if not deps.config["web.search.enable"] or not principal.may("features.web_search"):
        raise Forbidden(status=403)
    hits = await _found(deps, form.queries[:MOST_QUERIES])
    reads = [Read(hit.url, hit.title, hit.snippet) for hit in hits if hit.snippet]
    if not deps.config["web.search.bypass_web_loader"]:
        by_url = {read.url: read for read in await _pages(deps).read_all([hit.url for hit in hits])}
        reads = list(by_url.values()) or reads
    said: dict[str, Any] = {
        "status": True,
        "filenames": [read.url for read in reads],
        "items": [{"link": hit.url, "title": hit.title, "snippet": hit.snippet} for hit in hits],
        "loaded_count": len(reads),
    }
    if deps.config["web.search.bypass_embedding_and_retrieval"]:
        docs = [{"content": read.text, "metadata": {"source": read.url, "title": read.name}} for read in reads]
        return said | {"collection_names": [], "docs": docs}
    if not reads:
        return said | {"collection_names": []}
    key = "\n".join(form.queries).encode("utf-8", "surrogatepass")
    collection = f"web-search-{hashlib.sha256(key).hexdigest()}"[:63]
    for read in reads:
        await _keep(deps, principal, collection, read, FOUND_SECONDS)
    return said | {"collection_names": [collection]}


async def _found(deps: Deps, queries: list[str]) -> list[WebHit]:
    """What all queries found, each page once. A query that failed is left out, unless all did: raises what one of them raised."""
    at_once = asyncio.Semaphore(deps.config["web.search.concurrent_requests"] or MOST_QUERIES)

    async def one(query: str) -> list[WebHit] | OuiError:
        async with at_once:
            try:
                return await search_web(deps.config, deps.http, query)
            except OuiError as error:
                return error

    answers = await asyncio.gather(*(one(query) for query in dict.fromkeys(queries) if query.strip()))
    found = [answer for answer in answers if not isinstance(answer, OuiError)]
    if not found:
        failed = [answer for answer in answers if isinstance(answer, OuiError)]
        raise failed[0] if failed else BadRequest("There is nothing to search for.")
    return list({hit.url: hit for hits in reversed(found) for hit in reversed(hits)}.values())[::-1]


def _pages(deps: Deps) -> Pages:
    return Pages(deps.config, deps.settings, deps.http, deps.readers)


async def _keep(deps: Deps, principal: Principal, collection: str, read: Read, seconds: int) -> None:
    await deps.ingestion.keep_text(
        principal.id, collection, read.name[: constants.MAX_NAME], read.text, url=read.url, expires_at=now() + seconds
    )
