"""Asking again into the same message, and going on with it: what of the former answer stays."""

from typing import Any

from open_webui.models.messages import ANSWER_FIELDS
from tests.open_webui.chat.page import Page, open_page
from tests.support.live import Actor

FORMER: dict[str, Any] = {
    "annotation": {"rating": -1},
    "code_executions": [{"id": "c"}],
    "embeds": ["<b>x</b>"],
    "error": {"content": "The provider says no."},
    "feedbackId": "f",
    "files": [{"type": "image", "url": "/x"}],
    "followUps": ["And then?"],
    "info": {"eval_count": 1},
    "merged": {"status": True, "content": "both"},
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "former"}],
        }
    ],
    "selectedModelId": "m",
    "sources": [{"source": {"name": "s"}}],
    "statusHistory": [{"description": "d", "done": True}],
    "usage": {"total_tokens": 1},
}
QUESTION = {"id": "q", "parentId": None, "childrenIds": ["a"], "role": "user", "content": "Hello", "files": [{"f": 1}]}
ANSWER = {
    "id": "a", "parentId": "q", "childrenIds": [], "role": "assistant", "content": "former", "done": True,
    "modelName": "Model", "own": {"of": "a page"}, **FORMER,
}  # fmt: skip


async def chat_with(page: Page, messages: list[dict[str, Any]]) -> str:
    history = {"currentId": messages[-1]["id"], "messages": {m["id"]: m for m in messages}}
    reply = await page.http.post(
        "/api/v1/chats/new", json={"chat": {"title": "t", "models": ["m"], "history": history}}
    )
    assert reply.status_code == 200, reply.text
    chat_id: str = reply.json()["id"]
    return chat_id


def asking(page: Page, chat_id: str, answer: str, question: str) -> dict[str, Any]:
    """A question that is there already, to be answered into a message that is there already."""
    body = page.ask("fixed", "", chat_id=chat_id, parent_id=question, user_message=..., message_ids=...)
    return body | {"id": answer}


def test_the_list_of_an_answers_fields_is_the_one_that_is_tried() -> None:
    assert FORMER.keys() == ANSWER_FIELDS


async def test_nothing_of_a_former_answer_stays_when_it_is_asked_again(live: Any, admin: Actor) -> None:
    async with open_page(admin.client, admin.token) as page:
        chat_id = await chat_with(page, [QUESTION, ANSWER])
        before = await page.message(chat_id, "a")
        assert before.items() >= FORMER.items()
        await page.post(asking(page, chat_id, "a", "q"))
        await page.idle(chat_id)
        after = await page.message(chat_id, "a")
        kept = {k: v for k, v in after.items() if k in FORMER and k not in {"output", "usage"}}
        assert kept == {}
        assert after["content"] != "former"
        assert after["output"][-1]["content"][0]["text"] == after["content"]
        assert after.get("usage") != FORMER["usage"]
        assert (after["done"], after["modelName"], after["own"]) == (True, "Model", {"of": "a page"})
        assert (await page.message(chat_id, "q"))["files"] == [{"f": 1}]


async def test_an_error_is_gone_when_the_next_try_succeeds(live: Any, admin: Actor) -> None:
    async with open_page(admin.client, admin.token) as page:
        body = page.ask("error500", "Hello")
        chat_id = (await page.post(body))["chat_id"]
        await page.idle(chat_id)
        assert (await page.message(chat_id, body["id"]))["error"]
        page.events.clear()
        await page.post(asking(page, chat_id, body["id"], body["user_message"]["id"]))
        await page.idle(chat_id)
        after = await page.message(chat_id, body["id"])
        assert after["done"] is True
        assert after["content"]
        assert "error" not in after


async def test_going_on_keeps_everything_but_the_error(live: Any, admin: Actor) -> None:
    async with open_page(admin.client, admin.token) as page:
        chat_id = await chat_with(page, [QUESTION, ANSWER])
        await page.post(asking(page, chat_id, "a", "q") | {"assistant_message_id": "a"})
        await page.idle(chat_id)
        after = await page.message(chat_id, "a")
        kept = {k: v for k, v in after.items() if k in FORMER and k not in {"output", "usage"}}
        assert kept == {k: v for k, v in FORMER.items() if k not in {"output", "usage", "error"}}
        assert after["content"].startswith("former")
        assert (after["modelName"], after["own"]) == ("Model", {"of": "a page"})
