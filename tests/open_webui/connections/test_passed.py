"""Wires that Ollama's servers speak themselves: requests go there as they are, by those who may, and are counted."""

from typing import Any

import pytest

from open_webui.chat import passed
from open_webui.connections.calls import Call, Outcome
from tests.open_webui.plugins.test_in_chats import FILTER, made
from tests.support.live import Actor, Live
from tests.support.upstream import Upstream

PATHS = ("completions", "messages", "responses")
ASK: dict[str, Any] = {
    "model": "fixed:latest",
    "prompt": "hi",
    "messages": [{"role": "user", "content": "hi"}],
    "input": "hi",
}


@pytest.fixture
async def connected(admin: Actor, upstream: Upstream) -> Upstream:
    form = {
        "ENABLE_OLLAMA_API": True,
        "OLLAMA_BASE_URLS": ["http://127.0.0.1:9", upstream.url],
        "OLLAMA_API_CONFIGS": {},
    }
    assert (await admin.client.post("/ollama/config/update", json=form)).status_code == 200
    await admin.client.get("/api/models?refresh=true")
    return upstream


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
async def test_a_request_goes_there_as_it_is(admin: Actor, connected: Upstream, path: str, stream: bool) -> None:
    for place in ("", "/1"):
        body = ASK | {"stream": stream, "odd": {"kept": 1}, "chat_id": "left out"}
        reply = await admin.client.post(f"/ollama/v1/{path}{place}", json=body)
        assert reply.status_code == 200, reply.text
        kind = "text/event-stream" if stream else "application/json"
        assert reply.headers["content-type"].startswith(kind)
        sent = connected.received[-1]
        assert (sent.path, sent.body["model"], sent.body["odd"]) == (f"/v1/{path}", "fixed:latest", {"kept": 1})
        assert "chat_id" not in sent.body
        assert ("data:" in reply.text) is stream
    # The place of a server that has not the model, and one where there is no server.
    for place, status in (("/0", {400, 502}), ("/5", {404})):
        assert (await admin.client.post(f"/ollama/v1/{path}{place}", json=ASK)).status_code in status


@pytest.mark.parametrize("path", PATHS)
async def test_who_may_not_use_the_model_reaches_nobody(
    user: Actor, admin: Actor, connected: Upstream, path: str
) -> None:
    before = len(connected.received)
    for model in ("fixed:latest", "nope"):
        reply = await user.client.post(f"/ollama/v1/{path}", json=ASK | {"model": model})
        assert (reply.status_code, reply.json()["detail"]) == (400, "Model not found")
    assert len(connected.received) == before
    for bad in ({"model": None}, {"model": ""}, {"stream": "yes"}, {"model": "x" * 1_000}):
        assert (await admin.client.post(f"/ollama/v1/{path}", json=ASK | bad)).status_code == 400, bad
    assert (await admin.client.post(f"/ollama/v1/{path}", content=b"[]")).status_code == 400


async def test_a_model_that_is_made_of_another_is_asked_elsewhere(admin: Actor, connected: Upstream) -> None:
    model = {
        "id": "mine",
        "base_model_id": "fixed:latest",
        "name": "Mine",
        "meta": {},
        "params": {"system": "Be brief."},
    }
    assert (await admin.client.post("/api/v1/models/create", json=model)).status_code == 200
    before = len(connected.received)
    for path in PATHS:
        reply = await admin.client.post(f"/ollama/v1/{path}", json=ASK | {"model": "mine"})
        assert (reply.status_code, "models of their own" in reply.json()["detail"]) == (400, True)
    assert len(connected.received) == before


async def test_what_one_may_not_set_is_refused_by_whichever_name(
    live: Live, admin: Actor, user: Actor, connected: Upstream
) -> None:
    grant = {"principal_type": "user", "principal_id": "*", "permission": "read"}
    row = {"id": "fixed:latest", "base_model_id": None, "name": "f", "meta": {}, "params": {}, "access_grants": [grant]}
    assert (await admin.client.post("/api/v1/models/create", json=row)).status_code == 200
    state = live.app.state.oui
    tree = state.config["user.permissions"]
    await state.save_config(
        {"user.permissions": tree | {"chat": tree["chat"] | {"params": False, "system_prompt": False}}}
    )
    assert (await user.client.post("/ollama/v1/messages", json=ASK)).status_code == 200
    for path, more in (
        ("messages", {"system": "S"}), ("messages", {"max_tokens": 5}), ("responses", {"instructions": "S"}),
        ("responses", {"input": [{"role": "developer", "content": "S"}]}), ("responses", {"max_output_tokens": 5}),
        ("completions", {"temperature": 0}), ("messages", {"stop_sequences": ["x"]}),
        ("messages", {"thinking": {"type": "enabled"}}),
        ("responses", {"reasoning": {"effort": "high"}}),
    ):  # fmt: skip
        assert (await user.client.post(f"/ollama/v1/{path}", json=ASK | more)).status_code == 403, more
    odd = await user.client.post("/ollama/v1/responses", json=ASK | {"input": [], "messages": 5})
    assert odd.status_code < 500


async def test_a_refusal_of_the_server_is_passed_on(admin: Actor, connected: Upstream) -> None:
    reply = await admin.client.post("/ollama/v1/messages/1", json=ASK | {"model": "gone"})
    assert reply.status_code == 404
    assert "not found" in reply.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
async def test_the_counts_of_an_answer_are_kept(
    live: Live, admin: Actor, connected: Upstream, path: str, stream: bool
) -> None:
    seen: list[Outcome] = []

    class Trace:
        def on_call(self, call: Call, outcome: Outcome) -> None:
            if call.kind == "api":
                seen.append(outcome)

    gate = live.app.state.oui.gate
    gate._traces = [Trace()]
    assert (await admin.client.post(f"/ollama/v1/{path}", json=ASK | {"stream": stream})).status_code == 200
    [outcome] = seen
    assert outcome.status == 200
    if path != "completions" or not stream:
        assert outcome.usage is not None
        told = outcome.usage
        assert told.get("prompt_tokens", told.get("input_tokens")) == 7
        assert told.get("completion_tokens", told.get("output_tokens")) in {11, 20}


@pytest.mark.parametrize("path", PATHS)
async def test_a_model_with_filters_is_asked_where_they_can_read_the_question(
    admin: Actor, connected: Upstream, path: str
) -> None:
    await made(admin, "functions", "censor", FILTER)
    asked = len(connected.received)
    reply = await admin.client.post(f"/ollama/v1/{path}", json=ASK)
    assert (reply.status_code, reply.json()["detail"]) == (400, passed.FILTERED)
    assert len(connected.received) == asked
