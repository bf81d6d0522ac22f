"""Azure as it is documented: a resource that refuses everything else, and every form in which its address is written down."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from open_webui.connections.address import address_of
from open_webui.connections.openai import NO_IDENTITY, UNNAMED, OpenAIConnection
from open_webui.connections.specs import build
from open_webui.errors import ProviderError
from tests.support.live import Actor, Live

KEY, TOKEN, DATED = "0123456789abcdef", "eyJ.entra.token", "2024-10-21"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}


class Resource:
    """One resource of Azure with two deployments, as its reference has it. said: what it was asked, by path and query."""

    deployments = ("my chat", "gpt5-prod", "embedder")

    def __init__(self) -> None:
        self.said: list[str] = []
        self.bodies: list[Any] = []
        app = web.Application(middlewares=[self.refuse])
        app.router.add_post("/openai/deployments/{name}/{call:.+}", self.dated)
        app.router.add_post("/openai/v1/{call:.+}", self.undated)
        app.router.add_post("/models/chat/completions", self.inference)
        app.router.add_get("/openai/models", self.models)
        app.router.add_get("/openai/v1/models", self.models)
        self.server = TestServer(app)

    @web.middleware
    async def refuse(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.said.append(request.path_qs)
        bearer = request.headers.get("authorization")
        if (request.headers.get("api-key"), bearer) not in {(KEY, None), (None, f"Bearer {TOKEN}")}:
            return self.error(401, "401", "Access denied due to invalid subscription key or wrong API endpoint.")
        try:
            return await handler(request)  # type: ignore[no-any-return]
        except web.HTTPNotFound:
            return self.error(404, "404", "Resource not found")

    def error(self, status: int, code: str, message: str, **more: Any) -> web.Response:
        return web.json_response({"error": {"code": code, "message": message, **more}}, status=status)

    def version(self, request: web.Request, *versions: str) -> None:
        """A version that is not there, or is of no use, is 404 and says no more."""
        if request.query.getall("api-version", []) not in ([v] for v in versions):
            raise web.HTTPNotFound

    async def dated(self, request: web.Request) -> web.StreamResponse:
        self.version(request, DATED, "2025-04-01-preview")
        name = request.match_info["name"]
        if name not in self.deployments:
            return self.error(404, "DeploymentNotFound", "The API deployment for this resource does not exist.")
        return await self.answer(request, name)

    async def undated(self, request: web.Request) -> web.StreamResponse:
        if "api-version" in request.query and request.query["api-version"] != "preview":
            return self.error(400, "BadRequest", "api-version query parameter is not allowed when using /v1 path")
        name = (await request.json())["model"]
        if name not in self.deployments:
            return self.error(404, "DeploymentNotFound", "The API deployment for this resource does not exist.")
        return await self.answer(request, name)

    async def inference(self, request: web.Request) -> web.StreamResponse:
        self.version(request, "2024-05-01-preview")
        return await self.answer(request, (await request.json())["model"])

    async def models(self, request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/v1/models"):
            self.version(request, DATED, "2025-04-01-preview")
        return web.json_response({"object": "list", "data": [{"id": "gpt-4o-2024-08-06", "object": "model"}]})

    async def answer(self, request: web.Request, name: str) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        if request.path.endswith("/embeddings"):
            return web.json_response(
                {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}]}
            )
        if name == "gpt5-prod" and "max_tokens" in body:
            message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            return self.error(400, "unsupported_parameter", message, param="max_tokens", type="invalid_request_error")
        whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": f"I am {name}"}, "finish_reason": "stop",
             "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}]}  # fmt: skip
        if not body.get("stream"):
            return web.json_response(whole)
        return await self.stream(request, name)

    async def stream(self, request: web.Request, name: str) -> web.StreamResponse:
        """With the chunks that only Azure sends: filter results first, and offsets without a delta at the end."""
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for choice in (
            '[],"prompt_filter_results":[{"prompt_index":0}]',
            f'[{{"index":0,"delta":{{"role":"assistant","content":"I am {name}"}},"finish_reason":null}}]',
            '[{"index":0,"finish_reason":null,"content_filter_offsets":{"check_offset":1}}]',
            '[{"index":0,"delta":{},"finish_reason":"stop"}]',
        ):
            await response.write(
                f'data: {{"id":"","object":"","created":0,"model":"","choices":{choice}}}\n\n'.encode()
            )
        await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture
async def resource() -> AsyncIterator[Resource]:
    made = Resource()
    async with made.server:
        yield made


def url_of(resource: Resource, rest: str) -> str:
    return str(resource.server.make_url("")).rstrip("/") + rest


# The address, the settings beside it, and what the resource is asked for a chat.
FORMS: list[tuple[str, dict[str, Any], str]] = [
    ("", {}, f"/openai/deployments/my%20chat/chat/completions?api-version={DATED}"),
    ("/", {"api_version": "2025-04-01-preview"},
     "/openai/deployments/my%20chat/chat/completions?api-version=2025-04-01-preview"),
    ("/openai", {}, f"/openai/deployments/my%20chat/chat/completions?api-version={DATED}"),
    ("/openai/?api-version=2025-04-01-preview", {},
     "/openai/deployments/my%20chat/chat/completions?api-version=2025-04-01-preview"),
    ("/openai?api-version=1999-01-01", {"api_version": DATED},
     f"/openai/deployments/my%20chat/chat/completions?api-version={DATED}"),
    ("/openai/deployments/my%20chat", {}, f"/openai/deployments/my%20chat/chat/completions?api-version={DATED}"),
    ("/openai/deployments/my%20chat/chat/completions?api-version=2025-04-01-preview", {},
     "/openai/deployments/my%20chat/chat/completions?api-version=2025-04-01-preview"),
    ("/openai/v1", {}, "/openai/v1/chat/completions"),
    ("/openai/v1/", {"api_version": DATED}, "/openai/v1/chat/completions"),
    ("/openai/v1/chat/completions", {}, "/openai/v1/chat/completions"),
    ("/openai/v1", {"api_version": "preview"}, "/openai/v1/chat/completions?api-version=preview"),
    ("/models", {}, "/models/chat/completions?api-version=2024-05-01-preview"),
]  # fmt: skip


@pytest.mark.parametrize(("rest", "settings", "asked"), FORMS)
@pytest.mark.parametrize("named", [{"azure": True}, {"provider": "azure"}])
async def test_every_form_of_the_address(
    http: aiohttp.ClientSession, resource: Resource, rest: str, settings: dict[str, Any], asked: str, named: Any
) -> None:
    settings = settings | named | ({} if "deployments" in rest else {"model_ids": ["my chat", "embedder"]})
    connection = OpenAIConnection(http, build("openai", 0, url_of(resource, rest), KEY, settings), 5)
    entry = (await connection.list_models())[0]
    assert (entry.remote_id, resource.said) == ("my chat", [])
    for stream in (True, False):
        async with connection.open(entry, ASK | {"stream": stream}) as reply:
            said = "".join([e.text for batch in [b async for b in reply.events()] for e in batch if hasattr(e, "text")])
        assert said == "I am my chat"
    assert set(resource.said) == {asked}
    if not rest.startswith("/models"):
        assert b"embedding" in await connection.embed(entry, {"input": "x"})
        assert resource.said[-1] == asked.replace("/chat/completions", "/embeddings")
        # What a page asks when the connection is tried.
        assert (await connection.raw_models())["data"]


async def test_deployments_that_nobody_named(http: aiohttp.ClientSession, resource: Resource) -> None:
    for rest in ("", "/openai/v1"):
        connection = OpenAIConnection(http, build("openai", 0, url_of(resource, rest), KEY, {"azure": True}), 5)
        with pytest.raises(ProviderError) as refused:
            await connection.list_models()
        assert refused.value.detail == UNNAMED
    assert resource.said == []


@pytest.mark.parametrize("auth", ["azure_ad", "microsoft_entra_id"])
async def test_a_token_of_entra(http: aiohttp.ClientSession, resource: Resource, auth: str) -> None:
    for key, good in ((TOKEN, True), (KEY, False)):
        spec = build(
            "openai", 0, url_of(resource, ""), key, {"azure": True, "auth_type": auth, "model_ids": ["my chat"]}
        )
        connection = OpenAIConnection(http, spec, 5)
        entry = (await connection.list_models())[0]
        if good:
            async with connection.open(entry, ASK) as reply:
                assert b"I am my chat" in await reply.whole()
        else:
            with pytest.raises(ProviderError, match="key of this connection"):
                await connection.open(entry, ASK).__aenter__()


async def test_sign_in_by_an_identity_of_the_server_is_refused_in_words(
    http: aiohttp.ClientSession, resource: Resource
) -> None:
    spec = build(
        "openai", 0, url_of(resource, ""), "", {"azure": True, "auth_type": "azure_ad", "model_ids": ["my chat"]}
    )
    connection = OpenAIConnection(http, spec, 5)
    for ask in (connection.list_models, connection.raw_models):
        with pytest.raises(ProviderError) as refused:
            await ask()
        assert refused.value.detail == NO_IDENTITY
    assert resource.said == []


async def test_a_deployment_of_a_reasoning_model_gets_the_newer_limit(
    http: aiohttp.ClientSession, resource: Resource
) -> None:
    spec = build("openai", 0, url_of(resource, ""), KEY, {"azure": True, "model_ids": ["gpt5-prod"]})
    connection = OpenAIConnection(http, spec, 5)
    entry = (await connection.list_models())[0]
    for asked in (2, 3):
        async with connection.open(entry, ASK | {"max_tokens": 9}) as reply:
            await reply.whole()
        assert len(resource.said) == asked
    assert [("max_tokens" in b, b.get("max_completion_tokens")) for b in resource.bodies] == [
        (True, None), (False, 9), (False, 9)]  # fmt: skip


async def test_a_wrong_key_and_a_wrong_name_are_told(http: aiohttp.ClientSession, resource: Resource) -> None:
    for key, model, said in (("x", "my chat", "invalid subscription key"), (KEY, "gone", "does not exist")):
        connection = OpenAIConnection(
            http, build("openai", 0, url_of(resource, ""), key, {"azure": True, "model_ids": [model]}), 5
        )
        entry = (await connection.list_models())[0]
        with pytest.raises(ProviderError, match=said):
            await connection.open(entry, ASK).__aenter__()


@pytest.mark.parametrize(
    ("url", "path"),
    [("http://h/v1", "/models"), ("http://h/v1/", "/models"), ("http://h:1/a%20b", "/models"), ("http://u:p@h", "/x")],
)
@pytest.mark.parametrize("query", ["", "?a=1", "?a=1&b=%26", "?key=a/b"])
def test_a_path_goes_before_the_query_of_any_address(url: str, path: str, query: str) -> None:
    assert address_of(url + query).of(path, "m") == url.rstrip("/") + path + query


@pytest.mark.parametrize("url", ["http://[", "", "x", "http://h/v1?"])
def test_an_address_that_is_none_fails_when_it_is_called(url: str) -> None:
    assert address_of(url).of("/models").startswith(url.rstrip("?"))
    assert build("openai", 0, url, "k", {}).azure is False


@pytest.mark.parametrize(
    ("url", "azure"),
    [("https://r.openai.azure.com", True), ("https://r.cognitiveservices.azure.com/openai/v1", True),
     ("https://r.services.ai.azure.com/models", True), ("https://openai.azure.com.example.com", False),
     ("https://api.openai.com/v1", False), ("https://example.com/r.openai.azure.com", False)],
)  # fmt: skip
def test_azure_is_known_by_its_hosts(url: str, azure: bool) -> None:
    assert build("openai", 0, url, "k", {}).azure is azure
    assert ("api-key" in build("openai", 0, url, "k", {}).headers_for(None)) is azure


class TestWholeWay:
    """An administrator connects it, people talk to it, packages call it."""

    @pytest.fixture
    def connections(self) -> None:
        """Nothing is fixed by the environment."""

    async def test_from_verify_to_an_answer(self, live: Live, admin: Actor, resource: Resource) -> None:
        config = {"azure": True, "api_version": DATED, "auth_type": "bearer"}
        url = url_of(resource, "")
        good = await admin.client.post("/openai/verify", json={"url": url, "key": KEY, "config": config})
        assert good.status_code == 200, good.text
        for key, version in (("wrong", DATED), (KEY, "1999-01-01")):
            wrong = {"url": url, "key": key, "config": config | {"api_version": version}}
            assert (await admin.client.post("/openai/verify", json=wrong)).status_code == 400
        form = {
            "ENABLE_OPENAI_API": True, "OPENAI_API_BASE_URLS": [url], "OPENAI_API_KEYS": [KEY],
            "OPENAI_API_CONFIGS": {"0": config | {"model_ids": ["my chat", "embedder"]}},
        }  # fmt: skip
        assert (await admin.client.post("/openai/config/update", json=form)).status_code == 200
        plain = httpx.AsyncClient(trust_env=False, verify=False)
        async with openai.AsyncOpenAI(
            base_url=f"{live.url}/api", api_key=admin.token, max_retries=0, http_client=plain
        ) as client:
            assert {m.id async for m in client.models.list()} >= {"my chat", "embedder"}
            answer = await client.chat.completions.create(model="my chat", **ASK)
            assert answer.choices[0].message.content == "I am my chat"
            stream = await client.chat.completions.create(model="my chat", stream=True, **ASK)
            chunks = [chunk async for chunk in stream]
            assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices and c.choices[0].delta)
            made = await client.embeddings.create(model="embedder", input="x", encoding_format="float")
            assert made.data[0].embedding == [1.0]
