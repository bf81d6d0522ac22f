"""Search engines: what each is asked, and what is taken from an answer of its shape."""

from typing import Any

import aiohttp
import msgspec
import pytest

from open_webui.config import BY_KEY, Config
from open_webui.connections import services
from open_webui.errors import BadRequest, ProviderError
from open_webui.retrieval.web import engines, search
from open_webui.retrieval.web.domains import Domains
from open_webui.retrieval.web.engines import ENGINES, UNKNOWN
from open_webui.retrieval.web.search import WebHit, duckduckgo_hits, search_web
from tests.support.service import Service

A, B = "https://a.example/1", "https://b.example/2"
HITS = [WebHit(A, "First", "About the first."), WebHit(B, "Second", "About the second.")]
KEY = "engine-secret"


def items(url: str = "url", title: str = "title", snippet: str = "snippet", **more: Any) -> list[dict[str, Any]]:
    return [{url: hit.url, title: hit.title, snippet: hit.snippet, **more} for hit in HITS]


# The part of each maker's documented answer that matters, with something beside it.
ANSWERS: dict[str, Any] = {
    "searxng": {"query": "x", "results": items(snippet="content", engine="bing"), "infoboxes": []},
    "brave": {"type": "search", "web": {"type": "search", "results": items(snippet="description")}},
    "tavily": {"query": "x", "answer": None, "results": items(snippet="content", score=0.9)},
    "google_pse": {"kind": "customsearch#search", "items": items(url="link")},
    "bing": {"_type": "SearchResponse", "webPages": {"value": items(title="name")}},
    "exa": {"requestId": "r", "results": items(snippet="text", publishedDate=None)},
    "jina": {"code": 200, "data": items(snippet="description", content="")},
    "perplexity_search": {"id": "i", "results": items(date=None)},
    "serper": {"organic": items(url="link", position=1)},
    "serpapi": {"organic_results": items(url="link")},
    "searchapi": {"organic_results": items(url="link")},
    "serpstack": {"request": {"success": True}, "organic_results": items()},
    "kagi": {"meta": {}, "data": [*items(t=0), {"t": 1, "list": ["related"]}]},
    "mojeek": {"response": {"status": "OK", "results": items(snippet="desc")}},
    "linkup": {"results": items(title="name", snippet="content", type="text")},
    "ollama_cloud": {"results": items(snippet="content")},
    "youcom": {"results": {"web": items(snippet="description", snippets=["x"])}, "metadata": {}},
    "bocha": {"code": 200, "data": {"webPages": {"value": items(title="name", snippet="summary")}}},
    "firecrawl": {"success": True, "data": items(snippet="description")},
    "external": items(url="link"),
}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_FIRST_PAUSE", 0.0)


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    """Every engine is on loopback."""
    moved = {name: msgspec.structs.replace(engine, address=f"{service.url}/{name}") for name, engine in ENGINES.items()}
    monkeypatch.setattr(search, "ENGINES", moved)
    monkeypatch.setattr(search, "DUCKDUCKGO", f"{service.url}/html/")


def config_of(name: str, **more: str) -> Config:
    needs = ENGINES[name].needs if name in ENGINES else ()
    given = {BY_KEY[key].variables[0]: "http://127.0.0.1:1/x" if key.endswith("url") else KEY for key in needs}
    return Config({"WEB_SEARCH_ENGINE": name} | given | more)


def test_every_engine_has_an_answer_here() -> None:
    assert ANSWERS.keys() == ENGINES.keys()
    assert not UNKNOWN & ENGINES.keys()


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("name", ENGINES)
async def test_an_engine(http: aiohttp.ClientSession, service: Service, name: str) -> None:
    service.reply(ANSWERS[name])
    assert await search_web(config_of(name), http, "what is\n new?", 2) == HITS
    (asked,) = service.asked
    fields = asked.json if ENGINES[name].posts else asked.query
    assert asked.method == ("POST" if ENGINES[name].posts else "GET")
    assert "what is new?" in fields.values()
    if any(BY_KEY[key].secret for key in ENGINES[name].needs):
        assert any(KEY in str(value) for value in (*asked.headers.values(), *fields.values()))
    assert "{" not in str(fields).replace("{'", "").replace(": {", ""), "nothing is left unfilled"


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    "body", [{}, [], {"results": None}, {"data": {"webPages": []}}, {"web": 3, "results": [1, "x", None, {}]}]
)
async def test_nothing_found(http: aiohttp.ClientSession, service: Service, name: str, body: Any) -> None:
    service.reply(body)
    assert await search_web(config_of(name), http, "x") == []


@pytest.mark.parametrize("name", [n for n, e in ENGINES.items() if any(not BY_KEY[key].default for key in e.needs)])
async def test_one_that_is_not_set_up_says_what_is_missing(http: aiohttp.ClientSession, name: str) -> None:
    config = Config({"WEB_SEARCH_ENGINE": name})
    with pytest.raises(BadRequest, match=f"The search engine {name} is not set up: web"):
        await search_web(config, http, "x")


@pytest.mark.parametrize("name", sorted(UNKNOWN))
async def test_one_that_is_not_supported_is_refused_by_name(http: aiohttp.ClientSession, name: str) -> None:
    with pytest.raises(BadRequest, match=f"The search engine {name} is not supported"):
        await search_web(Config({"WEB_SEARCH_ENGINE": name}), http, "x")


async def test_none_is_chosen(http: aiohttp.ClientSession) -> None:
    with pytest.raises(BadRequest, match="No search engine is chosen"):
        await search_web(Config({}), http, "x")


@pytest.mark.usefixtures("at_home")
async def test_a_refusal_shows_no_key(http: aiohttp.ClientSession, service: Service) -> None:
    service.reply({"message": f"bad key {KEY}"}, status=401)
    with pytest.raises(ProviderError, match=r"bad key \*\*\*") as raised:
        await search_web(config_of("google_pse"), http, "x")
    assert KEY not in str(raised.value)


@pytest.mark.usefixtures("at_home")
async def test_no_json(http: aiohttp.ClientSession, service: Service) -> None:
    service.reply("<html>blocked</html>")
    with pytest.raises(ProviderError, match="something that is no JSON"):
        await search_web(config_of("searxng"), http, "x")


@pytest.mark.usefixtures("at_home")
async def test_hits_are_few_plain_and_each_once(http: aiohttp.ClientSession, service: Service) -> None:
    found = [
        {"url": A, "title": "<b>Tom</b> &amp; Jerry", "content": "one  <i>two</i>\nthree"},
        {"url": A, "title": "again", "content": ""},
        {"url": "javascript:alert(1)", "title": "x"},
        {"url": 7},
        {"url": "http://sub.bad.example/", "title": "x"},
        {"url": B, "title": None, "content": "y" * 9_000},
        {"url": "https://c.example/", "title": "c"},
    ]
    service.reply({"results": found})
    hits = await search_web(config_of("searxng", WEB_SEARCH_DOMAIN_FILTER_LIST="!bad.example"), http, "x", 2)
    assert hits[0] == WebHit(A, "Tom & Jerry", "one two three")
    assert (hits[1].url, hits[1].title, len(hits[1].snippet)) == (B, B, 4_000)
    assert len(hits) == 2


PAGE = """<div class="result results_links result--ad"><a rel="nofollow" class="result__a" href="https://duckduckgo.com/y.js?ad_domain=x">Ad</a>
<a class="result__snippet" href="https://duckduckgo.com/y.js?ad_domain=x">Buy</a></div>
<h2><a class="result__a" href="//duckduckgo.com/l/?uddg=https%3A%2F%2Fa.example%2F1">First</a></h2>
<a class="result__snippet" href="//duckduckgo.com/l/?uddg=https%3A%2F%2Fa.example%2F1">About the <b>first</b>.</a>
<a rel="nofollow" class="result__a" href="https://b.example/2">Second</a><a class="result__url" href="https://b.example/2">b.example</a>
<a class="result__snippet" href="https://b.example/2">About the second.</a>"""


@pytest.mark.usefixtures("at_home")
async def test_duckduckgo(http: aiohttp.ClientSession, service: Service) -> None:
    service.reply(PAGE)
    assert await search_web(Config({"WEB_SEARCH_ENGINE": "duckduckgo"}), http, "x") == HITS
    assert service.asked[0].query == {"q": "x"}


@pytest.mark.parametrize(
    "page", ["", '<a class="result__a" href="http://[">x</a>', "<a" * 100_000, "<a class=x>" * 50_000]
)
def test_a_page_that_is_none(page: str) -> None:
    assert duckduckgo_hits(page) == []


@pytest.mark.parametrize(
    ("listed", "url", "allowed"),
    [
        ([], "https://x.example/", True),
        (["example.com"], "https://example.com/a", True),
        (["example.com"], "https://www.Example.com./a", True),
        (["example.com"], "https://notexample.com/", False),
        (["!example.com"], "https://a.example.com/", False),
        (["!example.com"], "https://other.com/", True),
        (["example.com", "!bad.example.com"], "https://bad.example.com/", False),
        (["", " "], "https://x.example/", True),
        (["!"], "https://x.example/", True),
        ([], "http://[", False),
        ([], "nothing", False),
    ],
)
def test_domains(listed: list[str], url: str, allowed: bool) -> None:
    assert Domains(listed).allow(url) is allowed


def test_settings_that_rows_name_exist() -> None:
    for engine in engines.ENGINES.values():
        named = {key for key, _ in search._NAMED.findall(f"{engine.address}{engine.headers}{engine.fields}")}
        assert named - {"query", "count"} <= BY_KEY.keys()
        assert set(engine.needs) <= BY_KEY.keys()
