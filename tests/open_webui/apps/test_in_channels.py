"""Apps in channels: invited and taken out, told what their scopes let them know, once; what they answer, and their buttons."""

import asyncio
import base64
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from open_webui.models import apps as rows
from open_webui.services import attempts
from open_webui.services.apps import calls, delivery, interactions, invitations
from open_webui.services.channels import app_notices as notices
from tests.open_webui.apps.conftest import (
    CHANNELS,
    EVERYBODY,
    channel,
    connected,
    mention,
    messages,
    ok,
    say,
    told,
    write,
)
from tests.open_webui.chat.page import open_page
from tests.open_webui.socket.test_frames import until
from tests.support.app_program import AppProgram
from tests.support.live import Actor, Live

BUTTONS = [{"label": "Yes", "action_id": "yes"}, {"label": "More", "url": "https://example.com/"}]


async def test_the_way_in_and_out(
    admin: Actor, user: Actor, pending: Actor, client: httpx.AsyncClient, program: AppProgram
) -> None:
    made, where = await connected(admin, program), await channel(admin)
    place = f"{CHANNELS}/{where}/apps"
    body = {"app_id": made}
    assert await ok(admin, "GET", place) == []
    for who in (client, pending.client):
        for method, path in (("GET", place), ("POST", place), ("DELETE", f"{place}/{made}")):
            assert (await who.request(method, path, json=body if method == "POST" else None)).status_code == 401
    # Only whoever manages the channel.
    assert (await say(user, "POST", place, body))[0] == 403
    assert (await ok(admin, "POST", place, body))["id"] == made
    assert (await ok(admin, "POST", place, body))["id"] == made
    [shown] = await ok(user, "GET", place)
    assert (shown["id"], "url" in shown["data"]) == (made, False)
    assert (await say(user, "DELETE", f"{place}/{made}"))[0] == 403
    assert await ok(admin, "DELETE", f"{place}/{made}") is True
    assert await say(admin, "DELETE", f"{place}/{made}") == (404, {"detail": "App not found"})
    assert await say(admin, "POST", place, {"app_id": "nope"}) == (404, {"detail": "App not found"})
    assert (await say(admin, "POST", place, {}))[0] == 422
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", f"/{made}")):
        status, reply = await say(user, method, f"{CHANNELS}/nope/apps{path}", body if method == "POST" else None)
        assert (status, reply["detail"]) == (404, "Channel unavailable")


async def test_whom_one_may_not_invite(
    admin: Actor, user: Actor, other: Actor, program: AppProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups are their members', and apps whose the grants say."""
    made = await connected(admin, program, access_grants=[])
    group = (await ok(user, "POST", f"{CHANNELS}/create", {"name": "g", "type": "group"}))["id"]
    place, body = f"{CHANNELS}/{group}/apps", {"app_id": made}
    assert await say(user, "POST", place, body) == (404, {"detail": "App not found"})
    for who in (admin, other):
        assert await say(who, "POST", place, body) == (404, {"detail": "Channel unavailable"})
        assert await say(who, "GET", place) == (404, {"detail": "Channel unavailable"})
    await ok(admin, "PATCH", f"/{made}", {"access_grants": EVERYBODY})
    dm = (await ok(user, "POST", f"{CHANNELS}/create", {"type": "dm", "user_ids": [other.id]}))["id"]
    assert (await say(user, "POST", f"{CHANNELS}/{dm}/apps", body))[0] in {400, 403}
    await ok(admin, "PATCH", f"/{made}", {"is_active": False})
    assert await say(user, "POST", place, body) == (400, {"detail": invitations.IS_OFF})
    await ok(admin, "PATCH", f"/{made}", {"is_active": True})
    monkeypatch.setattr(invitations, "MOST", 0)
    assert (await say(user, "POST", place, body))[0] == 400
    monkeypatch.undo()
    assert (await ok(user, "POST", place, body))["id"] == made


async def test_a_mention_is_told_once_and_answered(live: Live, admin: Actor, user: Actor, program: AppProgram) -> None:
    made = await connected(admin, program)
    where = await channel(admin, made)
    program.replies["mention"] = {"content": "Hello back", "actions": BUTTONS}
    # It fails first: the same event comes again.
    program.statuses = [503]
    async with open_page(admin.client, admin.token) as page:
        asked = await write(user, where, mention(made))
        answer, question = await messages(user, where, 2)
        await until(lambda: sum(name == "events:channel" for name, _ in page.others) >= 2)
    assert question["id"] == asked["id"]
    first, again = program.told("mention")
    assert first == again
    assert first["message"]["content"] == mention(made)
    assert first["user"] == {"id": user.id, "name": user.name, "role": "user"}
    assert first["channel"] == {"id": where, "name": "general", "description": None}
    assert {headers["webhook-id"] for headers, event in program.got if event["type"] == "mention"} == {first["id"]}
    assert (answer["app_id"], answer["user_id"], answer["content"]) == (made, None, "Hello back")
    assert answer["user"] == {"id": made, "name": "Helper", "role": "app"}
    assert answer["reply_to_id"] == asked["id"]
    data = await ok(user, "GET", f"{CHANNELS}/{where}/messages/{answer['id']}/data")
    assert data == {"app": {"actions": BUTTONS}}
    await told(live)
    assert len(await messages(user, where, 2)) == 2
    assert (await ok(admin, "GET", f"/{made}"))["connection_status"] == "connected"
    # Its own words are told no app, and a thread is answered in the thread.
    await write(user, where, mention(made), parent_id=asked["id"])
    await told(live)
    assert len(program.told("mention")) == 3
    thread = await ok(user, "GET", f"{CHANNELS}/{where}/messages/{asked['id']}/thread")
    assert [m["app_id"] for m in thread] == [made, None, None]


async def test_what_the_scopes_let(live: Live, admin: Actor, user: Actor, program: AppProgram) -> None:
    """Nothing of what it may not know or do."""
    made = await connected(admin, program, granted_scopes=[])
    where = await channel(admin, made)
    program.replies |= {"mention": {"content": "hi"}, "message": {"content": "hi"}}

    async def heard(*scopes: str) -> list[tuple[str, bool]]:
        await ok(admin, "PATCH", f"/{made}", {"granted_scopes": list(scopes)})
        program.got.clear()
        await write(user, where, "plain")
        await write(user, where, mention(made))
        await told(live)
        return sorted((event["type"], "name" in event["channel"]) for _, event in program.got)

    assert await heard() == []
    assert await heard("channels:messages:write", "channels:read") == []
    assert await heard("channels:mentions:read") == [("mention", False)]
    assert await heard("channels:messages:read") == [("message", False)] * 2
    both = await heard("channels:messages:read", "channels:mentions:read", "channels:read")
    assert both == [("mention", True), ("message", True)]
    # It may not write.
    assert {m["app_id"] for m in await messages(user, where, 10)} == {None}


async def test_who_hears_nothing(live: Live, admin: Actor, user: Actor, program: AppProgram) -> None:
    """Switched off, put out, removed, of another channel, mentioned by who may not use it, or apps at all switched off."""
    made = await connected(admin, program, granted_scopes=["channels:mentions:read", "channels:messages:write"])
    where, elsewhere = await channel(admin, made), await channel(admin)
    place = f"{CHANNELS}/{where}/apps"

    async def is_told(who: Actor = user, at: str = where) -> bool:
        before = len(program.told("mention"))
        await write(who, at, mention(made))
        await told(live)
        return len(program.told("mention")) > before

    assert await is_told()
    assert not await is_told(at=elsewhere)
    await ok(admin, "PATCH", f"/{made}", {"access_grants": []})
    assert (await is_told(), await is_told(admin)) == (False, True)
    await ok(admin, "PATCH", f"/{made}", {"access_grants": EVERYBODY, "is_active": False})
    assert not await is_told()
    await ok(admin, "PATCH", f"/{made}", {"is_active": True})
    await live.app.state.oui.save_config({"apps.enable": False})
    assert not await is_told()
    await live.app.state.oui.save_config({"apps.enable": True})
    assert await is_told()
    await ok(admin, "DELETE", f"{place}/{made}")
    assert not await is_told()
    await ok(admin, "POST", place, {"app_id": made})
    assert await is_told()
    await ok(admin, "DELETE", f"/{made}")
    assert not await is_told()


async def test_one_that_goes_while_it_is_told(live: Live, admin: Actor, user: Actor, program: AppProgram) -> None:
    """What it answers after that is not stored, and it is not asked again."""
    made = await connected(admin, program)
    where = await channel(admin, made)
    real, gone = calls.tell, asyncio.Event()

    async def slow(*given: Any) -> calls.Reply:
        reply = await real(*given)
        await ok(admin, "DELETE", f"{CHANNELS}/{where}/apps/{made}")
        gone.set()
        return reply

    program.replies["mention"] = {"content": "too late"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calls, "tell", slow)
        await write(user, where, mention(made))
        async with asyncio.timeout(30):
            await gone.wait()
        await told(live)
    assert [m["app_id"] for m in await messages(user, where, 1)] == [None]


@pytest.mark.parametrize(
    "said",
    [
        b"no JSON", b"[" * 50_000, {"content": 7}, {"content": "x" * (calls.MOST_CONTENT + 1)}, b"x" * calls.MOST_REPLY + b"x",
        {"type": "other"}, {"actions": [{"label": "a"}]}, {"actions": [{"label": "a", "url": "javascript:alert(1)"}]},
        {"actions": [{"label": "", "action_id": "a"}]}, {"actions": [{"label": "a", "action_id": "a"}] * 11},
        {"actions": [{"label": "a", "action_id": "a", "url": "https://e.co"}]}, {"content": "a\x00b"},
    ],
)  # fmt: skip
async def test_answers_that_are_none(
    live: Live, admin: Actor, user: Actor, program: AppProgram, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not shown, and after some of them an app is switched off."""
    monkeypatch.setattr(delivery, "MOST_FAILURES", 2)
    made = await connected(admin, program)
    where = await channel(admin, made)
    program.replies["mention"] = said
    for number in (1, 2):
        await write(user, where, mention(made))
        await told(live)
        async with live.app.state.oui.database.read() as connection:
            app = await rows.repository.get(connection, made)
        assert app is not None
        assert (app.failures, app.is_active, app.connection_status) == (number, number == 1, "disconnected")
    assert {m["app_id"] for m in await messages(user, where, 2)} == {None}


async def test_an_answer_by_somebody_else(live: Live, admin: Actor, user: Actor, program: AppProgram) -> None:
    made = await connected(admin, program)
    where = await channel(admin, made)
    program.replies["mention"] = {"content": "forged"}
    program.signs = False
    await write(user, where, mention(made))
    await told(live)
    program.signs = True
    program.private = ed25519.Ed25519PrivateKey.generate()
    await write(user, where, mention(made))
    await told(live)
    assert {m["app_id"] for m in await messages(user, where, 2)} == {None}
    signed, body = "id.1.", b'{"content":"x"}'
    good = "v1a," + base64.b64encode(program.private.sign(signed.encode() + body)).decode()
    key = program.private.public_key().public_bytes_raw().hex()
    calls.check(key, good, signed, body)
    # An answer to one request is none to another.
    for given in (
        (good, "id.2.", body),
        (good, "other.1.", body),
        (good, signed, b"{}"),
        ("v1," + good[4:], signed, body),
    ):
        with pytest.raises(calls.Failed):
            calls.check(key, *given)


async def test_what_is_said_to_one_alone(live: Live, admin: Actor, user: Actor, program: AppProgram) -> None:
    made = await connected(admin, program)
    where = await channel(admin, made)
    program.replies["mention"] = {"content": "psst", "visibility": "private"}
    async with open_page(user.client, user.token) as mine, open_page(admin.client, admin.token) as theirs:
        asked = await write(user, where, mention(made))
        await until(lambda: any(name == "events:app" for name, _ in mine.others))
        [event] = [data for name, data in mine.others if name == "events:app"]
        assert not [name for name, _ in theirs.others if name == "events:app"]
    assert {key: event[key] for key in event if key != "reply"} == {
        "app_id": made, "app_name": "Helper", "channel_id": where, "message_id": asked["id"], "parent_id": None,
    }  # fmt: skip
    assert (event["reply"]["content"], event["reply"]["visibility"]) == ("psst", "private")
    await told(live)
    assert len(await messages(user, where, 1)) == 1


async def with_buttons(admin: Actor, user: Actor, program: AppProgram, **more: Any) -> tuple[str, str, str]:
    """An app, its channel, and a message of it with buttons."""
    made = await connected(admin, program, **more)
    where = await channel(admin, made)
    program.replies["mention"] = {"content": "Well?", "actions": BUTTONS}
    await write(user, where, mention(made))
    return made, where, (await messages(user, where, 2))[0]["id"]


async def test_a_button_is_pressed(live: Live, admin: Actor, user: Actor, program: AppProgram) -> None:
    made, where, message = await with_buttons(admin, user, program)
    door, press = f"/{made}/interactions", {"message_id": message, "action_id": "yes"}
    # Nothing is said.
    assert (await ok(user, "POST", door, press))["type"] == "ack"
    [event] = program.told("interaction")
    assert (event["action_id"], event["user"]) == ("yes", {"id": user.id, "name": user.name})
    assert (event["message"]["id"], event["channel"]["id"]) == (message, where)
    program.replies["interaction"] = {"content": "only you", "visibility": "private", "actions": BUTTONS}
    reply = await ok(user, "POST", door, press)
    assert (reply["content"], reply["actions"]) == ("only you", BUTTONS)
    assert len(await messages(user, where, 2)) == 2
    program.replies["interaction"] = {"content": "to all"}
    assert (await ok(user, "POST", door, press))["visibility"] == "channel"
    newest = (await messages(user, where, 3))[0]
    assert (newest["content"], newest["app_id"], newest["reply_to_id"]) == ("to all", made, message)
    program.replies["interaction"] = {"type": "download", "filename": "a.md", "content": "# A"}
    assert (await ok(user, "POST", door, press))["filename"] == "a.md"
    program.statuses = [503]
    assert (await say(user, "POST", door, press))[0] == 502
    program.replies["interaction"] = b"no JSON"
    assert (await say(user, "POST", door, press))[0] == 502
    assert len(await messages(user, where, 3)) == 3


async def test_buttons_that_are_none(live: Live, admin: Actor, user: Actor, other: Actor, program: AppProgram) -> None:
    made, where, message = await with_buttons(admin, user, program)
    door, press = f"/{made}/interactions", {"message_id": message, "action_id": "yes"}
    for body, status in (
        ({}, 422), (press | {"action_id": ""}, 422), (press | {"more": 1}, 422), (press | {"action_id": "no"}, 404),
        (press | {"message_id": "nope"}, 404),
    ):  # fmt: skip
        assert (await say(user, "POST", door, body))[0] == status
    # What people write has no buttons, whatever they say it has.
    fake = {"data": {"app": {"actions": BUTTONS}}, "meta": {"app": {"id": made, "name": "Helper"}}}
    own = await write(user, where, "mine", **fake)
    assert (own["app_id"], own["data"], own["meta"]) == (None, {}, None)
    path = f"{CHANNELS}/{where}/messages/{own['id']}/update"
    assert (await ok(user, "POST", path, {"content": "still mine"} | fake))["app_id"] is None
    assert (await say(user, "POST", door, press | {"message_id": own["id"]}))[0] == 404
    # Who may only read the channel, may not read it, or may not use the app.
    readers = {"access_grants": [{"principal_type": "user", "principal_id": "*", "permission": "read"}]}
    await ok(admin, "POST", f"{CHANNELS}/{where}/access/update", readers)
    assert (await say(other, "POST", door, press))[0] == 403
    await ok(admin, "POST", f"{CHANNELS}/{where}/access/update", {"access_grants": []})
    assert await say(other, "POST", door, press) == (404, {"detail": interactions.NO_MESSAGE})
    await ok(admin, "PATCH", f"/{made}", {"access_grants": []})
    assert await say(other, "POST", door, press) == (404, {"detail": "App not found"})
    # One that may not write, is put out, is switched off.
    program.replies["interaction"] = {"content": "to all"}
    await ok(admin, "PATCH", f"/{made}", {"granted_scopes": []})
    assert await say(admin, "POST", door, press) == (403, {"detail": interactions.MAY_NOT_WRITE})
    await ok(admin, "DELETE", f"{CHANNELS}/{where}/apps/{made}")
    assert (await say(admin, "POST", door, press))[0] == 404
    await ok(admin, "PATCH", f"/{made}", {"is_active": False})
    assert (await say(admin, "POST", door, press))[0] == 404
    assert len(program.told("interaction")) == 1


async def test_too_much(
    live: Live, admin: Actor, user: Actor, program: AppProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, where, message = await with_buttons(admin, user, program)
    if live.app.state.oui.database.is_sqlite:
        live.app.state.oui.attempts._by_kind["buttons"] = attempts.Attempts(1)
    monkeypatch.setitem(attempts._LIMITS, "buttons", 1)
    press = {"message_id": message, "action_id": "yes"}
    assert [(await say(user, "POST", f"/{made}/interactions", press))[0] for _ in range(2)] == [200, 429]
    await told(live)
    monkeypatch.setattr(notices, "MOST_WAITING", 0)
    before = len(program.got)
    await write(user, where, mention(made))
    await told(live)
    assert len(program.got) == before
