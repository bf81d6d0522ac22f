"""Models that are mentioned in a channel: they answer there, as who asked, and no further than that person may."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from open_webui.chat import channel_answers
from open_webui.services.channels import mentions
from tests.open_webui.channels.conftest import channel, group, ok, say, write
from tests.open_webui.channels.test_socket import heard
from tests.open_webui.chat.page import open_page
from tests.open_webui.socket.test_frames import until
from tests.support.live import Actor, Live, used
from tests.support.script import fixed_text
from tests.support.upstream import Upstream

ASK = "<@M:{0}|{0}> please answer"


async def open_model(admin: Actor, model: str = "fixed") -> None:
    grants = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
    form = {"id": model, "base_model_id": None, "name": "Fixed One", "params": {}, "meta": {}, "access_grants": grants}
    assert (await admin.client.post("/api/v1/models/create", json=form)).status_code == 200


async def waits(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - a job tells nobody
            await asyncio.sleep(0.05)


async def replies(actor: Actor, where: str, message_id: str, count: int) -> bool:
    found: int = (await ok(actor, "GET", f"/{where}/messages/{message_id}"))["reply_count"]
    return found >= count


async def has_asked(upstream: Upstream, count: int) -> bool:
    return len(upstream.chats) >= count


async def answer_in(actor: Actor, where: str, message_id: str) -> dict[str, Any]:
    """The answer in a message's thread, or where that is "" outside of threads, when it is over."""
    place = f"/{where}/messages" + (f"/{message_id}/thread" if message_id else "")
    found: list[dict[str, Any]] = []

    async def over() -> bool:
        found[:] = [m for m in await ok(actor, "GET", place) if (m["meta"] or {}).get("done")]
        return bool(found)

    await waits(over)
    whole: dict[str, Any] = await ok(actor, "GET", f"/{where}/messages/{found[0]['id']}")
    return whole


async def test_a_model_answers_in_the_thread(live: Live, admin: Actor, user: Actor, upstream: Upstream) -> None:
    await open_model(admin)
    where = await channel(admin)
    before = await write(admin, where, "We talk of cats.")
    async with open_page(user.client, user.token) as page:
        asked = await write(user, where, ASK.format("fixed"))
        told = await answer_in(admin, where, asked["id"])
        await until(
            lambda: bool(heard(page, "message:update")) and heard(page)[-1]["data"]["data"]["meta"].get("done") is True
        )
        # The first event of a channel waits a moment, and may come when the tab is there already.
        kinds = [e["data"]["type"] for e in heard(page) if e["message_id"] != before["id"]]
        assert kinds[:3] == ["message", "message", "message:reply"]
        assert set(kinds[3:]) == {"message:update"}
    assert told["content"] == fixed_text()
    assert told["meta"] == {"model_id": "fixed", "model_name": "Fixed One", "done": True}
    assert (told["user"]["id"], told["parent_id"]) == (user.id, asked["id"])
    assert told["data"]["output"][-1]["content"][0]["text"] == fixed_text()
    sent = upstream.chats[-1].body["messages"]
    assert [m["role"] for m in sent] == ["system", "user", "user"]
    assert [m["content"] for m in sent[1:]] == ["Admin One: We talk of cats.", f"{user.name}: @fixed please answer"]
    [row] = await used(live, 1)
    assert (row.user_id, row.model_id, row.kind) == (user.id, "fixed", "api")
    # It is asked once more, in the thread, and reads what it said there.
    again = await write(user, where, ASK.format("fixed"), parent_id=asked["id"])
    await waits(lambda: replies(user, where, asked["id"], 3))
    await waits(lambda: has_asked(upstream, 2))
    assert [m["role"] for m in upstream.chats[-1].body["messages"]] == ["system", "user", "assistant", "user"]
    assert again["parent_id"] == asked["id"]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_beside_the_message(live: Live, admin: Actor) -> None:
    await live.app.state.oui.save_config({"channels.model_response_mode": "reply"})
    where = await channel(admin)
    asked = await write(admin, where, ASK.format("fixed"))

    told = await answer_in(admin, where, "")
    assert (told["parent_id"], told["reply_to_id"], told["content"]) == (None, asked["id"], fixed_text())


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_what_is_not_ones_own_to_ask(admin: Actor, user: Actor, upstream: Upstream) -> None:
    where = await channel(admin)
    asked = await write(user, where, ASK.format("fixed"))
    told = await answer_in(user, where, asked["id"])
    assert (told["content"], told["meta"]["error"]) == (
        channel_answers.NOT_THERE,
        {"content": channel_answers.NOT_THERE},
    )
    failed = await answer_in(admin, where, (await write(admin, where, ASK.format("broken")))["id"])
    assert failed["meta"]["error"]["content"]
    assert upstream.chats == [] or all("broken" in str(r.body) for r in upstream.chats)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_who_is_put_out_is_answered_no_further(
    admin: Actor, user: Actor, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_answers, "UPDATE_SECONDS", 0.0)
    # It says its next word when this test lets it: the answer is not over before somebody is put out.
    await open_model(admin, "gated")
    where = await group(admin, user)
    asked = await write(user, where, ASK.format("gated"))
    await waits(lambda: replies(admin, where, asked["id"], 1))
    await ok(admin, "POST", f"/{where}/update/members/remove", {"user_ids": [user.id]})
    upstream.release()
    told = await answer_in(admin, where, asked["id"])
    assert told["content"].endswith(channel_answers.ENDED)
    assert told["data"]["output"] == [] or told["data"]["output"][-1]["status"] == "incomplete"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_lost_process_is_told_of(live: Live, admin: Actor) -> None:
    """What a job leaves behind that can't be gone on with."""
    where = await channel(admin)
    asked = await write(admin, where, "hello")
    state = live.app.state.oui
    kind = state.jobs.kinds[mentions.KIND]
    answers = kind.handler.__self__
    question = mentions.Question(where, asked["id"], "fixed", admin.id, mentions.answer_id_of(asked["id"], "fixed"))
    principal = await state.identifier.account(admin.id)
    await answers._begin(principal, question)
    async with state.database.write() as unit:
        await answers._given_up(unit, question, "lost")
    told = await answer_in(admin, where, asked["id"])
    assert (told["content"], told["meta"]["done"]) == (channel_answers.INTERRUPTED, True)
    async with state.database.write() as unit:
        # It is said once.
        await answers._given_up(unit, question, "lost")
    assert (await ok(admin, "GET", f"/{where}/messages/{told['id']}"))["updated_at"] == told["updated_at"]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_bounds(admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mentions, "MOST_WAITING", 1)
    where = await channel(admin)
    both = ASK.format("fixed") + ASK.format("echo")
    assert await say(admin, "POST", f"/{where}/messages/post", {"content": both}) == (429, {"detail": mentions.BUSY})
    assert await ok(admin, "GET", f"/{where}/messages") == []


def test_mentions() -> None:
    text = "<@M:a|A> <@M:a> <@M:b|B> <@U:u|Ann> <@M:c|C> <@M:d|D> <@M:|x> <@M:e"
    assert mentions.models_in(text) == ["a", "b", "c"]
    assert mentions.plain("<@M:a|A b> and <@U:u|Ann>, <#C:x|y>") == "@A b and @Ann, @y"
