"""One model by its id, as OpenAI's package asks for it at each address that the package can be given."""

import httpx
import openai
import pytest

from tests.support.live import Actor, Live
from tests.support.upstream import Upstream

PREFIXES = ("/api", "/api/v1", "/openai", "/ollama/v1")
IDS = ("gpt-4o", "org/model:free", "a/b/c", "café", "with space", "100%", "what?", "list of", "7b")
pytestmark = pytest.mark.parametrize("prefix", PREFIXES)


@pytest.fixture
def connections(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream.models = IDS
    monkeypatch.setenv("OPENAI_API_BASE_URLS", upstream.openai_url)
    monkeypatch.setenv("OLLAMA_BASE_URLS", upstream.url)
    monkeypatch.setenv("BUILTIN_MODEL", "always")


def sdk(live: Live, actor: Actor, prefix: str) -> openai.AsyncOpenAI:
    plain = httpx.AsyncClient(trust_env=False, verify=False)
    return openai.AsyncOpenAI(base_url=live.url + prefix, api_key=actor.token, max_retries=0, http_client=plain)


async def made(admin: Actor, model_id: str, base: str) -> None:
    form = {"id": model_id, "name": "Ours", "base_model_id": base, "params": {"system": "secret"}, "meta": {}}
    reply = await admin.client.post("/api/v1/models/create", json=form)
    assert reply.status_code == 200, reply.text


async def test_every_kind_of_model_is_found(live: Live, admin: Actor, prefix: str) -> None:
    await made(admin, "ours/best:1", "gpt-4o")
    listed = {m["id"]: m for m in (await admin.client.get("/api/models")).json()["data"]}
    async with sdk(live, admin, prefix) as client:
        for model_id in (*IDS, "gpt-4o:latest", "ours/best:1", "eliza"):
            model = await client.models.retrieve(model_id)
            assert (model.id, model.object, type(model.created), type(model.owned_by)) == (model_id, "model", int, str)
            assert model.to_dict() == listed[model_id]
            assert "secret" not in model.to_json()


async def test_a_model_of_nobody_is_not_found(live: Live, admin: Actor, prefix: str) -> None:
    async with sdk(live, admin, prefix) as client:
        for model_id in ("nothing", "org/nothing", "gpt-4o/", "x" * 300):
            with pytest.raises(openai.NotFoundError) as refused:
                await client.models.retrieve(model_id)
            assert (refused.value.code, "Model not found" in refused.value.message) == ("model_not_found", True)


async def test_what_one_may_not_see_is_not_there(live: Live, admin: Actor, user: Actor, prefix: str) -> None:
    await made(admin, "ours", "gpt-4o")
    async with sdk(live, user, prefix) as client:
        assert (await client.models.retrieve("eliza")).id == "eliza"
        answers = []
        for model_id in ("gpt-4o", "org/model:free", "ours", "nothing"):
            with pytest.raises(openai.NotFoundError) as refused:
                await client.models.retrieve(model_id)
            answers.append(refused.value.response.content)
        # One answer for all of them: nobody learns what there is.
        assert len(set(answers)) == 1
    async with openai.AsyncOpenAI(base_url=live.url + prefix, api_key="wrong", max_retries=0) as nobody:
        with pytest.raises(openai.AuthenticationError):
            await nobody.models.retrieve("gpt-4o")
