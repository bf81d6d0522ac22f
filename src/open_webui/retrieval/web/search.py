"""Asks the search engine that the settings name."""

import re
from collections.abc import Iterable
from html import unescape
from typing import Any, Final, TypeGuard
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import msgspec

from open_webui.config import BY_KEY, Config
from open_webui.connections.services import call_service
from open_webui.errors import BadRequest, ProviderError
from open_webui.retrieval.web.domains import Domains
from open_webui.retrieval.web.engines import ENGINES, UNKNOWN, Engine

TIMEOUT: Final = 20.0
MOST_HITS: Final = 50
_MAX_QUERY: Final = 1_000
_MAX_TITLE: Final = 500
_MAX_SNIPPET: Final = 4_000
_NAMED: Final = re.compile(r"\{([\w.]+)(?:\|(\w+))?\}")
_TAGS: Final = re.compile(r"<[^<>]{0,200}>")
DUCKDUCKGO: Final = "https://html.duckduckgo.com/html/"


class WebHit(msgspec.Struct, frozen=True):
    """A page that a search engine found. snippet: what it says of it, plain text."""

    url: str
    title: str
    snippet: str


async def search_web(config: Config, http: aiohttp.ClientSession, query: str, count: int | None = None) -> list[WebHit]:
    """The pages that the engine finds, the best first, each once, of sites that may be visited.

    count: how many; None: what the settings say. Raises BadRequest where no engine can be asked, ProviderError.
    """
    name = config["web.search.engine"]
    count = max(1, min(count or config["web.search.result_count"], MOST_HITS))
    query = " ".join(query.split())[:_MAX_QUERY]
    domains = Domains(config["web.search.domain.filter_list"])
    if name == "duckduckgo":
        found: Iterable[WebHit] = await _duckduckgo(http, query)
    elif engine := ENGINES.get(name):
        found = await _asked(config, http, name, engine, query, count)
    elif name in UNKNOWN:
        raise BadRequest(
            f"The search engine {name} is not supported by this server. An administrator can choose another."
        )
    else:
        raise BadRequest("No search engine is chosen. An administrator can choose one.")
    once = {hit.url: hit for hit in reversed(list(found))}
    return [hit for hit in reversed(once.values()) if domains.allow(hit.url)][:count]


async def _asked(
    config: Config, http: aiohttp.ClientSession, name: str, engine: Engine, query: str, count: int
) -> list[WebHit]:
    if missing := [key for key in engine.needs if not config[key]]:
        raise BadRequest(f"The search engine {name} is not set up: {', '.join(missing)}.")
    values = {"query": query, "count": min(count, engine.most)}
    url, fields = _filled(engine.address, config, values), _filled(engine.fields, config, values)
    headers = {key: value for key, value in _filled(engine.headers, config, values).items() if value.split(" ")[-1]}
    if not engine.posts:
        base, _, old = url.partition("?")
        # An address such as SearXNG's may bring a query of its own, with a place for the question.
        kept = {key: last[-1] for key, last in parse_qs(old).items()}
        url = f"{base}?{urlencode(kept | fields)}"
    answer = await call_service(
        http,
        "POST" if engine.posts else "GET",
        url,
        headers={"accept": "application/json"} | headers,
        payload=fields if engine.posts else None,
        timeout=TIMEOUT,
        secrets=[config[key] for key in _settings_of(engine) if BY_KEY[key].secret],
        tries=2,
    )
    return _hits(_list_at(answer, engine.at, name), engine)


def _settings_of(engine: Engine) -> set[str]:
    return {key for key, _ in _NAMED.findall(f"{engine.address}{engine.headers}{engine.fields}") if key in BY_KEY}


def _filled(template: Any, config: Config, values: dict[str, Any]) -> Any:
    """A template with values for the names in it; one that is nothing but a name becomes the value itself."""

    def value_of(match: "re.Match[str]") -> Any:
        name, otherwise = match.groups()
        return (values[name] if name in values else config[name]) or otherwise or ""

    match template:
        case dict():
            return {key: _filled(value, config, values) for key, value in template.items()}
        case str() if whole := _NAMED.fullmatch(template):
            return value_of(whole)
        case str():
            return _NAMED.sub(lambda match: str(value_of(match)), template)
    return template


def _list_at(answer: bytes, at: str, name: str) -> list[Any]:
    """The list of an answer; empty where a part of the way is missing, as where nothing was found. Raises ProviderError."""
    try:
        found = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderError(f"The search engine {name} answered with something that is no JSON.") from error
    for key in at.split(".") if at else ():
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, list) else []


def _hits(items: list[Any], engine: Engine) -> list[WebHit]:
    hits = []
    for item in items:
        if not isinstance(item, dict) or not _is_web(url := item.get(engine.url)):
            continue
        told = next((item[key] for key in engine.snippet if item.get(key)), "")
        snippet = " ".join(map(str, told)) if isinstance(told, list) else told
        hits.append(WebHit(url, _plain(item.get(engine.title), _MAX_TITLE) or url, _plain(snippet, _MAX_SNIPPET)))
    return hits


def _is_web(url: Any) -> TypeGuard[str]:
    return isinstance(url, str) and len(url) < 8_192 and url.startswith(("http://", "https://"))


def _plain(text: Any, most: int) -> str:
    """Text without the tags that engines mark words with."""
    return " ".join(unescape(_TAGS.sub("", text[: 2 * most])).split())[:most] if isinstance(text, str) else ""


async def _duckduckgo(http: aiohttp.ClientSession, query: str) -> list[WebHit]:
    """DuckDuckGo's page for browsers without scripts. Raises ProviderError."""
    answer = await call_service(
        http,
        "GET",
        f"{DUCKDUCKGO}?{urlencode({'q': query})}",
        headers={"accept": "text/html"},
        timeout=TIMEOUT,
        tries=2,
    )
    return duckduckgo_hits(answer.decode("utf-8", "replace")[:500_000])


def duckduckgo_hits(page: str) -> list[WebHit]:
    """What a page of results has; advertisements left out."""
    hits: list[WebHit] = []
    for link in re.finditer(r"<a\b([^<>]{0,2000})>([^\0]{0,1000}?)</a>", page):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', link[1]))
        kinds = attributes.get("class", "").split()
        if "result__a" in kinds:
            url = _target(unescape(attributes.get("href", "")))
            if _is_web(url):
                hits.append(WebHit(url, _plain(link[2], _MAX_TITLE), ""))
        elif "result__snippet" in kinds and hits and _target(unescape(attributes.get("href", ""))) == hits[-1].url:
            hits[-1] = WebHit(hits[-1].url, hits[-1].title, _plain(link[2], _MAX_SNIPPET))
    return hits


def _target(href: str) -> str:
    """Where a link of DuckDuckGo's leads in the end; "" for one to itself, as advertisements are."""
    try:
        parts = urlsplit(href)
    except ValueError:
        return ""
    if (parts.hostname or "").endswith("duckduckgo.com"):
        return parse_qs(parts.query).get("uddg", [""])[0] if parts.path == "/l/" else ""
    return href
