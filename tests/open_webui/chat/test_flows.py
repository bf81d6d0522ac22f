"""What a page sees from question to answer, event by event, as contract/socket-frames.json has it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.open_webui.chat.page import ALL_TASKS, Page, open_page, rebuilt
from tests.support.live import Actor, Live
from tests.support.script import fixed_text
from tests.support.upstream import Upstream

DELTA = "response.output_text.delta"
END = ["chat:completion chunk", "chat:completion usage", "chat:list", "chat:completion done"]


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


@pytest.fixture
def clever(upstream: Upstream) -> Upstream:
    """A provider that knows what side questions want."""
    upstream.answer_when('"title"', '{"title": "About Foxes"}')
    upstream.answer_when('"tags"', '{"tags": ["Animals", "Wild Life"]}')
    upstream.answer_when('"follow_ups"', '```json\n{"follow_ups": ["Why?", "How?"]}\n```')
    return upstream


async def test_a_new_chat(page: Page, clever: Upstream) -> None:
    body = page.ask("fixed", "Tell me of foxes", background_tasks=ALL_TASKS)
    reply = await page.post(body)
    chat_id, question, answer = reply["chat_id"], body["user_message"]["id"], body["id"]
    assert reply["status"] is True
    assert len(reply["task_ids"]) == 1
    await page.idle(chat_id)
    kinds = page.kinds(besides="chat:title")  # made beside the answer, so its place is not fixed
    assert page.events[0]["message_id"] == question
    assert [k for k in kinds if k != "chunk"] == [
        "chat:list", "chat:active true", DELTA, *END, "chat:message:follow_ups", "chat:tags", "chat:active false",
    ]  # fmt: skip
    assert {e["chat_id"] for e in page.events} == {chat_id}
    assert {e["message_id"] for e in page.events[1:]} == {answer}
    assert page.data("chat:title") == ["About Foxes"]
    assert page.data("chat:tags") == [["Animals", "Wild Life"]]
    assert page.data("chat:message:follow_ups") == [{"follow_ups": ["Why?", "How?"]}]
    done = page.data("chat:completion")[-1]
    assert done["usage"]["input_tokens"] == 7
    [last] = [data for data in page.data("chat:completion") if "choices" in data]
    assert (last["object"], last["model"], last["id"][:9]) == ("chat.completion.chunk", "fixed", "chatcmpl-")
    assert (type(last["created"]), last["choices"][0]["finish_reason"]) == (int, "stop")
    assert rebuilt([], page.of(answer)) == done["output"][0]["content"][0]["text"] == fixed_text()

    stored = await page.stored(chat_id)
    messages = stored["chat"]["history"]["messages"]
    assert stored["title"] == "About Foxes"
    assert stored["chat"]["history"]["currentId"] == answer
    assert messages[question]["childrenIds"] == [answer]
    assert messages[question]["content"] == "Tell me of foxes"
    kept = messages[answer]
    assert (kept["role"], kept["content"], kept["done"], kept["parentId"]) == (
        "assistant",
        fixed_text(),
        True,
        question,
    )
    assert (kept["model"], kept["modelIdx"], kept["followUps"]) == ("fixed", 0, ["Why?", "How?"])
    assert kept["output"] == done["output"]
    assert kept["usage"] == done["usage"]
    assert kept["meta"] == {"task_id": reply["task_ids"][0]}
    tags = (await page.http.get(f"/api/v1/chats/{chat_id}/tags")).json()
    assert sorted(tag["name"] for tag in tags) == ["Animals", "Wild Life"]


async def test_a_second_turn_is_asked_with_the_first(page: Page, upstream: Upstream) -> None:
    first = page.ask("echo", "One")
    chat_id = (await page.post(first))["chat_id"]
    await page.idle(chat_id)
    page.events.clear()
    second = page.ask("echo", "Two", chat_id=chat_id, parent_id=first["id"], background_tasks=ALL_TASKS)
    assert (await page.post(second))["chat_id"] == chat_id
    await page.idle(chat_id)
    assert "chat:title" not in page.kinds()
    asked = [(m["role"], m["content"]) for m in upstream.chats[1].body["messages"]]
    assert asked == [("user", "One"), ("assistant", "One"), ("user", "Two")]
    assert (await page.message(chat_id, first["id"]))["childrenIds"] == [second["user_message"]["id"]]


async def test_without_streaming_the_answer_comes_whole(page: Page) -> None:
    body = page.ask("fixed", "Hi", stream=False)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    assert page.kinds()[-3:] == ["chat:list", "chat:completion done", "chat:active false"]
    assert (await page.message(chat_id, body["id"]))["content"] == fixed_text()


async def test_reasoning(page: Page) -> None:
    body = page.ask("reasoning", "Hi")
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    kinds = [k for k in page.kinds() if k.startswith("response.")]
    assert kinds == [
        "response.output_item.added", "response.reasoning_text.delta", "response.output_item.done", DELTA,
    ]  # fmt: skip
    kept = await page.message(chat_id, body["id"])
    assert [item["type"] for item in kept["output"]] == ["reasoning", "message"]
    assert kept["output"][0]["content"][0]["text"] == "First I think."
    assert kept["content"] == fixed_text()


async def test_a_tool_call_of_the_model_is_shown_and_kept(page: Page) -> None:
    tool = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}
    body = page.ask("tools", "Find foxes", tools=[tool])
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    [call] = (await page.message(chat_id, body["id"]))["output"]
    assert (call["type"], call["name"], call["arguments"]) == ("function_call", "lookup", '{"query": "foxes"}')


async def test_an_error_of_the_provider(page: Page, upstream: Upstream) -> None:
    body = page.ask("error500", "Break", background_tasks=ALL_TASKS)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    kinds = page.kinds(besides="chat:title")
    assert kinds == ["chat:list", "chat:active true", "chat:message:error", "chat:active false"]
    assert page.data("chat:title") == ["Break"]
    [error] = page.data("chat:message:error")
    assert "upstream exploded" in error["error"]["content"]
    assert error["done"] is True
    kept = await page.message(chat_id, body["id"])
    assert (kept["content"], kept["done"], kept["error"]) == ("", True, error["error"])
    # The chat goes on with another model, and the two questions are one message.
    after = page.ask("echo", "Again", chat_id=chat_id, parent_id=body["id"])
    page.events.clear()
    await page.post(after)
    await page.idle(chat_id)
    assert (await page.message(chat_id, after["id"]))["content"] == "Break\n\nAgain"
    assert [m["role"] for m in upstream.chats[-1].body["messages"]] == ["user"]


async def test_an_unknown_model_stores_nothing(page: Page) -> None:
    reply = await page.http.post("/api/chat/completions", json=page.ask("nope", "x"))
    assert (reply.status_code, reply.json()["detail"]) == (400, "Model not found")
    assert (await page.http.get("/api/v1/chats/?page=1")).json() == []
    assert page.events == []


async def test_two_models_at_once(page: Page, clever: Upstream) -> None:
    body = page.ask("fixed", "Both of you", background_tasks=ALL_TASKS)
    other = body["id"][:-4] + "beef"
    body["message_ids"].append({"model_id": "reasoning", "message_id": other, "modelIdx": 1})
    reply = await page.post(body)
    chat_id = reply["chat_id"]
    assert len(reply["task_ids"]) == 2
    await page.idle(chat_id)
    for message_id, model, index in ((body["id"], "fixed", 0), (other, "reasoning", 1)):
        kept = await page.message(chat_id, message_id)
        assert (kept["content"], kept["done"], kept["model"], kept["modelIdx"]) == (fixed_text(), True, model, index)
        assert rebuilt([], page.of(message_id)) == fixed_text()
    question = await page.message(chat_id, body["user_message"]["id"])
    assert sorted(question["childrenIds"]) == sorted([body["id"], other])
    assert len(page.data("chat:title")) == len(page.data("chat:tags")) == 1
    assert len(page.data("chat:message:follow_ups")) == 2
    # Said once, when all that follows the two has been told.
    assert [told["active"] for told in page.data("chat:active")].count(False) == 1


async def test_the_same_model_twice(page: Page) -> None:
    body = page.ask("fixed", "Twice")
    body["message_ids"].append({"model_id": "fixed", "message_id": "second", "modelIdx": 1})
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    assert (await page.message(chat_id, "second"))["content"] == fixed_text()


@pytest.mark.parametrize("prefix", ["local", "temporary"])
async def test_a_temporary_chat_stores_nothing(page: Page, clever: Upstream, prefix: str) -> None:
    chat_id = f"{prefix}:{page.sid}"
    said: list[dict[str, Any]] = [
        {"role": "user", "content": "One"},
        {"role": "assistant", "output": [{"type": "message", "content": [{"type": "output_text", "text": "Two"}]}]},
        {"role": "user", "content": "Three"},
    ]
    body = page.ask("fixed", "Three", chat_id=chat_id, messages=said, background_tasks=ALL_TASKS)
    assert (await page.post(body))["chat_id"] == chat_id
    await page.idle(chat_id)
    assert [k for k in page.kinds() if k != "chunk"] == [
        "chat:active true", DELTA, "chat:completion chunk", "chat:completion usage", "chat:completion done",
        "chat:message:follow_ups", "chat:active false",
    ]  # fmt: skip
    assert page.data("chat:completion")[-1]["title"] == ""
    assert [m["content"] for m in clever.chats[0].body["messages"]] == ["One", "Two", "Three"]
    assert (await page.http.get("/api/v1/chats/?page=1")).json() == []
    assert (await page.http.get(f"/api/v1/chats/{chat_id}")).status_code in {401, 404}


async def test_regenerate_makes_a_sibling(page: Page, upstream: Upstream) -> None:
    first = page.ask("echo", "One")
    chat_id = (await page.post(first))["chat_id"]
    await page.idle(chat_id)
    page.events.clear()
    again = page.ask("fixed", "One", chat_id=chat_id)
    again["user_message"] = first["user_message"] | {"childrenIds": [again["id"]]}
    await page.post(again)
    await page.idle(chat_id)
    question = await page.message(chat_id, first["user_message"]["id"])
    assert sorted(question["childrenIds"]) == sorted([first["id"], again["id"]])
    assert (await page.message(chat_id, first["id"]))["content"] == "One"
    assert (await page.message(chat_id, again["id"]))["content"] == fixed_text()
    assert [m["content"] for m in upstream.chats[-1].body["messages"]] == ["One"]


async def test_edit_and_send_opens_a_branch(page: Page, upstream: Upstream) -> None:
    first = page.ask("echo", "One")
    chat_id = (await page.post(first))["chat_id"]
    await page.idle(chat_id)
    second = page.ask("echo", "Two", chat_id=chat_id, parent_id=first["id"])
    await page.post(second)
    await page.until(lambda p: len(p.data("chat:completion", second["id"])) >= 3)
    edited = page.ask("echo", "Two, but better", chat_id=chat_id, parent_id=first["id"])
    await page.post(edited)
    await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", edited["id"])))
    assert [m["content"] for m in upstream.chats[-1].body["messages"]] == ["One", "One", "Two, but better"]
    above = await page.message(chat_id, first["id"])
    assert sorted(above["childrenIds"]) == sorted([second["user_message"]["id"], edited["user_message"]["id"]])
    assert (await page.stored(chat_id))["chat"]["history"]["currentId"] == edited["id"]


async def test_continue_extends_the_answer(page: Page, upstream: Upstream) -> None:
    first = page.ask("drop", "Go on")
    chat_id = (await page.post(first))["chat_id"]
    await page.idle(chat_id)
    half = (await page.message(chat_id, first["id"]))["content"]
    assert half == fixed_text(10)
    page.events.clear()
    more = page.ask("fixed", "", chat_id=chat_id, parent_id=first["user_message"]["id"], id=first["id"],
                    assistant_message_id=first["id"], message_ids=..., user_message=...)  # fmt: skip
    await page.post(more)
    await page.idle(chat_id)
    kept = await page.message(chat_id, first["id"])
    assert kept["content"] == half + fixed_text()
    assert kept["done"] is True
    assert not kept.get("error")
    assert [(m["role"], m["content"]) for m in upstream.chats[-1].body["messages"]] == [
        ("user", "Go on"), ("assistant", half),
    ]  # fmt: skip
    assert rebuilt([{"type": "message", "content": [{"text": half}]}], page.of(first["id"])) == kept["content"]


async def test_a_question_can_not_be_overwritten_by_an_answer(page: Page) -> None:
    first = page.ask("echo", "One")
    chat_id = (await page.post(first))["chat_id"]
    await page.idle(chat_id)
    question = first["user_message"]["id"]
    bad = page.ask("fixed", "Two", chat_id=chat_id, id=question,
                   message_ids=[{"model_id": "fixed", "message_id": question}])  # fmt: skip
    reply = await page.http.post("/api/chat/completions", json=bad)
    assert reply.status_code == 400
    assert (await page.message(chat_id, question))["content"] == "One"


async def test_an_answer_can_not_be_overwritten_by_a_question(page: Page) -> None:
    first = page.ask("echo", "One")
    chat_id = (await page.post(first))["chat_id"]
    await page.idle(chat_id)
    bad = page.ask("fixed", "Two", chat_id=chat_id)
    bad["user_message"]["id"] = first["id"]
    reply = await page.http.post("/api/chat/completions", json=bad)
    assert reply.status_code == 400
    kept = await page.message(chat_id, first["id"])
    assert (kept["role"], kept["content"]) == ("assistant", "One")
