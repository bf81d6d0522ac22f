"""Search engines that are asked for JSON: a row for each, from their makers' public documentation.

In addresses, headers and fields "{query}", "{count}" and names of settings in braces stand for their values.
"""

from typing import Any, Final

import msgspec


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine is asked, and where its answer has what.

    needs: settings without which it can't be asked. headers, fields: of the request; fields are its query, with `posts` its
    JSON. at: where the list of hits is in the answer, keys with dots between them; "" for the answer itself. url, title,
    snippet: of a hit; several names of a snippet are tried in order. most: hits that it gives at once.
    """

    address: str
    needs: tuple[str, ...] = ()
    posts: bool = False
    headers: dict[str, str] = {}
    fields: dict[str, Any]
    at: str
    url: str = "url"
    title: str = "title"
    snippet: tuple[str, ...] = ("snippet",)
    most: int = 20


def _bearer(setting: str) -> dict[str, str]:
    return {"authorization": f"Bearer {{{setting}}}"}


ENGINES: Final[dict[str, Engine]] = {
    "searxng": Engine(
        address="{web.search.searxng_query_url}",
        needs=("web.search.searxng_query_url",),
        fields={"q": "{query}", "format": "json", "pageno": 1, "language": "{web.search.searxng_language}"},
        at="results",
        snippet=("content",),
    ),
    "brave": Engine(
        address="https://api.search.brave.com/res/v1/web/search",
        needs=("web.search.brave_search_api_key",),
        headers={"x-subscription-token": "{web.search.brave_search_api_key}"},
        fields={"q": "{query}", "count": "{count}"},
        at="web.results",
        snippet=("description",),
    ),
    "tavily": Engine(
        address="https://api.tavily.com/search",
        needs=("web.search.tavily_api_key",),
        posts=True,
        headers=_bearer("web.search.tavily_api_key"),
        fields={"query": "{query}", "max_results": "{count}", "search_depth": "{web.search.tavily_search_depth}"},
        at="results",
        snippet=("content",),
    ),
    "google_pse": Engine(
        address="https://www.googleapis.com/customsearch/v1",
        needs=("web.search.google_pse_api_key", "web.search.google_pse_engine_id"),
        fields={
            "key": "{web.search.google_pse_api_key}",
            "cx": "{web.search.google_pse_engine_id}",
            "q": "{query}",
            "num": "{count}",
        },
        at="items",
        url="link",
        most=10,
    ),
    "bing": Engine(
        address="{web.search.bing_search_v7_endpoint}",
        needs=("web.search.bing_search_v7_subscription_key",),
        headers={"ocp-apim-subscription-key": "{web.search.bing_search_v7_subscription_key}"},
        fields={"q": "{query}", "count": "{count}"},
        at="webPages.value",
        title="name",
        most=50,
    ),
    "exa": Engine(
        address="https://api.exa.ai/search",
        needs=("web.search.exa_api_key",),
        posts=True,
        headers={"x-api-key": "{web.search.exa_api_key}"},
        fields={"query": "{query}", "numResults": "{count}", "contents": {"text": {"maxCharacters": 1_000}}},
        at="results",
        snippet=("text",),
    ),
    "jina": Engine(
        address="https://s.jina.ai/",
        needs=("web.search.jina_api_key",),
        headers=_bearer("web.search.jina_api_key") | {"accept": "application/json", "x-respond-with": "no-content"},
        fields={"q": "{query}"},
        at="data",
        snippet=("description", "content"),
    ),
    "perplexity_search": Engine(
        address="{web.search.perplexity_search_api_url}",
        needs=("web.search.perplexity_api_key", "web.search.perplexity_search_api_url"),
        posts=True,
        headers=_bearer("web.search.perplexity_api_key"),
        fields={"query": "{query}", "max_results": "{count}"},
        at="results",
    ),
    "serper": Engine(
        address="https://google.serper.dev/search",
        needs=("web.search.serper_api_key",),
        posts=True,
        headers={"x-api-key": "{web.search.serper_api_key}"},
        fields={"q": "{query}", "num": "{count}"},
        at="organic",
        url="link",
    ),
    "serpapi": Engine(
        address="https://serpapi.com/search",
        needs=("web.search.serpapi_api_key",),
        fields={
            "engine": "{web.search.serpapi_engine|google}",
            "q": "{query}",
            "api_key": "{web.search.serpapi_api_key}",
        },
        at="organic_results",
        url="link",
    ),
    "searchapi": Engine(
        address="https://www.searchapi.io/api/v1/search",
        needs=("web.search.searchapi_api_key",),
        headers=_bearer("web.search.searchapi_api_key"),
        fields={"engine": "{web.search.searchapi_engine|google}", "q": "{query}"},
        at="organic_results",
        url="link",
    ),
    "serpstack": Engine(
        address="https://api.serpstack.com/search",
        needs=("web.search.serpstack_api_key",),
        fields={"access_key": "{web.search.serpstack_api_key}", "query": "{query}"},
        at="organic_results",
    ),
    "kagi": Engine(
        address="https://kagi.com/api/v0/search",
        needs=("web.search.kagi_search_api_key",),
        headers={"authorization": "Bot {web.search.kagi_search_api_key}"},
        fields={"q": "{query}", "limit": "{count}"},
        at="data",
    ),
    "mojeek": Engine(
        address="https://api.mojeek.com/search",
        needs=("web.search.mojeek_search_api_key",),
        fields={"q": "{query}", "fmt": "json", "t": "{count}", "api_key": "{web.search.mojeek_search_api_key}"},
        at="response.results",
        snippet=("desc",),
    ),
    "linkup": Engine(
        address="https://api.linkup.so/v1/search",
        needs=("web.search.linkup_api_key",),
        posts=True,
        headers=_bearer("web.search.linkup_api_key"),
        fields={"q": "{query}", "depth": "standard", "outputType": "searchResults", "maxResults": "{count}"},
        at="results",
        title="name",
        snippet=("content",),
    ),
    "ollama_cloud": Engine(
        address="https://ollama.com/api/web_search",
        needs=("web.search.ollama_cloud_api_key",),
        posts=True,
        headers=_bearer("web.search.ollama_cloud_api_key"),
        fields={"query": "{query}", "max_results": "{count}"},
        at="results",
        snippet=("content",),
        most=10,
    ),
    "youcom": Engine(
        address="https://ydc-index.io/v1/search",
        needs=("web.search.youcom_api_key",),
        headers={"x-api-key": "{web.search.youcom_api_key}"},
        fields={"query": "{query}", "count": "{count}"},
        at="results.web",
        snippet=("description", "snippets"),
    ),
    "bocha": Engine(
        address="https://api.bochaai.com/v1/web-search",
        needs=("web.search.bocha_search_api_key",),
        posts=True,
        headers=_bearer("web.search.bocha_search_api_key"),
        fields={"query": "{query}", "summary": True, "count": "{count}"},
        at="data.webPages.value",
        title="name",
        snippet=("summary", "snippet"),
    ),
    "firecrawl": Engine(
        address="{web.loader.firecrawl_api_url}/v1/search",
        needs=("web.loader.firecrawl_api_url",),
        posts=True,
        headers=_bearer("web.loader.firecrawl_api_key"),
        fields={"query": "{query}", "limit": "{count}"},
        at="data",
        snippet=("description",),
    ),
    "external": Engine(
        address="{web.search.external_web_search_url}",
        needs=("web.search.external_web_search_url",),
        posts=True,
        headers=_bearer("web.search.external_web_search_api_key"),
        fields={"query": "{query}", "count": "{count}"},
        at="",
        url="link",
        most=100,
    ),
}
# Engines of the contract that are not asked: what their makers publish of them could not be checked.
UNKNOWN: Final = frozenset(
    "azure_ai_search brave_llm_context microsoft_web_iq openserp perplexity serphouse serply sougou staan yacy yandex".split()
)
