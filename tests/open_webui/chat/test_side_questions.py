"""Title, tags and follow-up questions: made beside or after an answer, by which model, with whose prompt, or not at all."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from open_webui.chat.side import TOKENS
from open_webui.connections.openai import OpenAIConnection
from tests.open_webui.chat.page import ALL_TASKS, Page, open_page
from tests.support.live import Actor, Live
from tests.support.script import fixed_text
from tests.support.upstream import Upstream


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


async def asked(page: Page, model: str = "fixed", text: str = "Tell me of foxes", **tasks: bool) -> tuple[str, str]:
    body = page.ask(model, text, background_tasks={f"{k}_generation": v for k, v in tasks.items()} or ALL_TASKS)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    return chat_id, body["id"]


def side(upstream: Upstream) -> list[dict[str, Any]]:
    """What was asked besides the answer."""
    return [r.body for r in upstream.chats if not r.body.get("stream")]


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ("task.title.enable", "title"),
        ("task.tags.enable", "tags"),
        ("task.follow_up.enable", "follow_ups"),
    ],
)
async def test_what_is_off_is_not_asked(live: Live, page: Page, upstream: Upstream, config: str, missing: str) -> None:
    await live.app.state.oui.save_config({config: False})
    chat_id, _ = await asked(page)
    assert len(side(upstream)) == 2
    assert not any(f'"{missing}"' in str(body["messages"]) for body in side(upstream))
    if missing == "title":
        assert (await page.stored(chat_id))["title"] == "Tell me of foxes"


async def test_what_the_page_does_not_want_is_not_asked(page: Page, upstream: Upstream) -> None:
    chat_id, _ = await asked(page, title=False)
    assert side(upstream) == []
    assert (await page.stored(chat_id))["title"] == "New Chat"


async def test_answers_are_held_to_a_schema_and_to_bounds(page: Page, upstream: Upstream) -> None:
    await asked(page)
    bodies = side(upstream)
    assert len(bodies) == 3
    for body in bodies:
        schema = body["response_format"]["json_schema"]["schema"]
        assert list(schema["properties"]) == schema["required"]
        assert 0 < body["max_tokens"] <= TOKENS


async def test_a_provider_that_knows_no_schemas_is_asked_without_and_remembered(page: Page, upstream: Upstream) -> None:
    upstream.refuses = "response_format"
    upstream.answer_when("JSON only", '{"title": "Foxes", "tags": ["a"], "follow_ups": ["b"]}')
    chat_id, _ = await asked(page)
    assert (await page.stored(chat_id))["title"] == "Foxes"
    upstream.received.clear()
    await asked(page)
    assert not any("response_format" in body for body in side(upstream))
    assert len(side(upstream)) == 3


async def test_a_custom_prompt(live: Live, page: Page, upstream: Upstream) -> None:
    await live.app.state.oui.save_config(
        {"task.title.prompt_template": "For {{USER_NAME}}: {{prompt:start:4}} {{MESSAGES:END:1}}"}
    )
    upstream.answer_when("For Admin One", '{"title": "Custom"}')
    chat_id, _ = await asked(page, title=True)
    assert (await page.stored(chat_id))["title"] == "Custom"
    [body] = side(upstream)
    assert body["messages"][0]["content"].startswith("For Admin One: Tell USER: Tell me of foxes")


async def test_another_model_for_side_questions(live: Live, page: Page, upstream: Upstream) -> None:
    await live.app.state.oui.save_config({"task.model.external": "echo", "task.model.params": {"temperature": 0}})
    await asked(page)
    assert {body["model"] for body in side(upstream)} == {"echo"}
    assert {body["temperature"] for body in side(upstream)} == {0}
    await live.app.state.oui.save_config({"task.model.external": "no-such-model"})
    upstream.received.clear()
    await asked(page)
    assert {body["model"] for body in side(upstream)} == {"fixed"}


@pytest.mark.parametrize(
    "answer",
    ["I am sorry.\nNo title comes to my mind.", '{"title": ', '{"title": 7, "tags": 7, "follow_ups": {"a": 1}}', "{}"],
)
async def test_a_model_that_answers_nonsense(page: Page, upstream: Upstream, answer: str) -> None:
    upstream.answer_when("JSON only", answer)
    chat_id, message_id = await asked(page)
    stored = await page.stored(chat_id)
    assert stored["title"] == "Tell me of foxes"
    assert stored["chat"]["history"]["messages"][message_id]["content"] == fixed_text()
    assert {"chat:tags", "chat:message:follow_ups"}.isdisjoint(page.kinds())


async def test_a_model_that_refuses_side_questions_harms_nothing(live: Live, page: Page) -> None:
    await live.app.state.oui.save_config({"task.model.external": "error500"})
    chat_id, message_id = await asked(page)
    assert (await page.message(chat_id, message_id))["content"] == fixed_text()
    assert (await page.stored(chat_id))["title"] == "Tell me of foxes"


async def test_a_slow_side_question_does_not_keep_the_chat(live: Live, page: Page, upstream: Upstream) -> None:
    await live.app.state.oui.save_config({"task.model.external": "stall"})
    body = page.ask("fixed", "Tell me of foxes", background_tasks=ALL_TASKS)
    chat_id = (await page.post(body))["chat_id"]
    await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])))
    assert (await page.http.get(f"/api/tasks/chat/{chat_id}")).json() == {"task_ids": []}
    second = page.ask("echo", "Next", chat_id=chat_id, parent_id=body["id"])
    await page.post(second)
    await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", second["id"])))
    assert (await page.message(chat_id, second["id"]))["content"] == "Next"


class TestAskedByThePage:
    async def post(self, page: Page, kind: str, **fields: Any) -> Any:
        body = {
            "model": "fixed",
            "messages": [{"role": "user", "content": "Tell me of foxes"}],
            "prompt": "Once",
        } | fields
        return await page.http.post(f"/api/v1/tasks/{kind}/completions", json=body)

    @pytest.mark.parametrize("kind", ["title", "tags", "follow_up", "queries", "emoji", "image_prompt"])
    async def test_a_completion_is_answered(self, page: Page, upstream: Upstream, kind: str) -> None:
        reply = await self.post(page, kind)
        assert reply.status_code == 200
        assert reply.json()["choices"][0]["message"]["content"] == fixed_text()
        assert ("foxes" in str(side(upstream)[0])) or "Once" in str(side(upstream)[0])

    async def test_what_is_off_says_so(self, live: Live, page: Page, upstream: Upstream) -> None:
        await live.app.state.oui.save_config({"task.title.enable": False})
        reply = await self.post(page, "title")
        assert (reply.status_code, list(reply.json())) == (200, ["detail"])
        assert (await self.post(page, "auto")).json()["detail"]
        assert side(upstream) == []

    async def test_answers_are_merged(self, page: Page, upstream: Upstream) -> None:
        reply = await self.post(page, "moa", responses=["It is red.", "It is quick."], stream=False)
        assert reply.status_code == 200
        said = side(upstream)[0]["messages"][0]["content"]
        assert "It is red." in said
        assert "It is quick." in said
        for wrong in (None, "x", [1], {}):
            assert (await self.post(page, "moa", responses=wrong)).status_code == 400

    async def test_a_provider_that_refuses_keeps_its_status(self, page: Page) -> None:
        assert (await self.post(page, "title", model="error429")).status_code == 429
        assert (await self.post(page, "title", model="nope")).status_code == 404


async def test_only_what_nobody_waits_for_gives_way(live: Live, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_patiently: list[bool] = []
    plain = OpenAIConnection.open

    def open_(self: OpenAIConnection, *args: Any, patient: bool = False) -> Any:
        asked_patiently.append(patient)
        return plain(self, *args, patient=patient)

    monkeypatch.setattr(OpenAIConnection, "open", open_)
    body = {"model": "fixed", "prompt": "Hi", "responses": ["a", "b"], "messages": []}
    for kind in ("moa", "title"):
        reply = await page.http.post(f"/api/v1/tasks/{kind}/completions", json=body)
        assert reply.status_code == 200
    assert asked_patiently == [False, False]
    await asked(page)
    assert sorted(asked_patiently[2:]) == [False, True, True, True]
