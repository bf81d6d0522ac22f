"""Webhooks of channels: for whoever manages the channel, and whoever knows an address."""

import logging
from typing import Any

import httpx
import pytest

from open_webui.services import attempts
from open_webui.services.channels import webhooks
from tests.open_webui.channels.conftest import channel, group, ok, say, texts
from tests.support.live import Actor, Live
from tests.support.pictures import data_url, png

FIELDS = [
    "id", "channel_id", "user_id", "name", "profile_image_url", "token", "last_used_at", "created_at", "updated_at",
]  # fmt: skip
HOOKS = "/api/v1/channels/webhooks"


async def make(admin: Actor, where: str, **form: Any) -> dict[str, Any]:
    made: dict[str, Any] = await ok(admin, "POST", f"/{where}/webhooks/create", {"name": "hook"} | form)
    return made


async def test_the_life_of_a_webhook(live: Live, admin: Actor, user: Actor, client: httpx.AsyncClient) -> None:
    where = await channel(admin)
    made = await make(admin, where)
    assert list(made) == FIELDS
    assert (made["last_used_at"], len(made["token"])) == (None, 43)
    assert await ok(admin, "GET", f"/{where}/webhooks") == [made]
    for method, rest in (
        ("GET", ""),
        ("POST", "/create"),
        ("POST", f"/{made['id']}/update"),
        ("DELETE", f"/{made['id']}/delete"),
    ):
        assert (await say(user, method, f"/{where}/webhooks{rest}", {"name": "x"} if method == "POST" else None))[
            0
        ] == 403
    reply = await client.post(f"{HOOKS}/{made['id']}/{made['token']}", json={"content": "from hook"})
    assert reply.status_code == 200, reply.text
    [message] = await ok(user, "GET", f"/{where}/messages")
    assert reply.json() == {"success": True, "message_id": message["id"]}
    assert (message["user_id"], message["user"]) == (None, {"id": made["id"], "name": "hook", "role": "webhook"})
    assert (await ok(admin, "GET", f"/{where}/webhooks"))[0]["last_used_at"] == message["created_at"]
    changed = await ok(admin, "POST", f"/{where}/webhooks/{made['id']}/update", {"name": "other"})
    assert (changed["name"], changed["token"]) == ("other", made["token"])
    # What was written stays as it was signed.
    assert (await ok(user, "GET", f"/{where}/messages"))[0]["user"]["name"] == "hook"
    assert await ok(admin, "DELETE", f"/{where}/webhooks/{made['id']}/delete") is True
    assert (await client.post(f"{HOOKS}/{made['id']}/{made['token']}", json={"content": "x"})).status_code == 401
    assert await texts(user, where) == ["from hook"]


async def test_wrong_addresses(live: Live, admin: Actor, client: httpx.AsyncClient) -> None:
    where = await group(admin)
    made = await make(admin, where)
    for hook, token in ((made["id"], "bad"), ("nope", made["token"]), (made["id"], "x" * 255)):
        reply = await client.post(f"{HOOKS}/{hook}/{token}", json={"content": "x"})
        assert (reply.status_code, reply.json()["detail"]) == (401, webhooks.WRONG)
    right = f"{HOOKS}/{made['id']}/{made['token']}"
    for body, status in (({}, 422), ({"content": 7}, 422), ({"content": " "}, 400), ({"content": "x" * 40_001}, 422)):
        assert (await client.post(right, json=body)).status_code == status
    assert (await client.post(right, json={"content": "x", "more": "y" * 70_000})).status_code == 413
    await live.app.state.oui.save_config({"channels.enable": False})
    assert (await client.post(right, json={"content": "x"})).status_code == 403
    await live.app.state.oui.save_config({"channels.enable": True})
    assert await texts(admin, where) == []
    await ok(admin, "DELETE", f"/{where}/delete")
    assert (await client.post(right, json={"content": "x"})).status_code == 401


async def test_too_often(live: Live, admin: Actor, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    if live.app.state.oui.database.is_sqlite:
        for kind, most in (("webhook", 2), ("webhooks", 4)):
            live.app.state.oui.attempts._by_kind[kind] = attempts.Attempts(most)
    monkeypatch.setitem(attempts._LIMITS, "webhook", 2)
    monkeypatch.setitem(attempts._LIMITS, "webhooks", 4)
    where = await channel(admin)
    made = await make(admin, where)
    right = f"{HOOKS}/{made['id']}/{made['token']}"
    # Somebody who does not know the token locks nobody out who does.
    assert (await client.post(f"{HOOKS}/{made['id']}/bad", json={"content": "x"})).status_code == 401
    assert [(await client.post(right, json={"content": str(n)})).status_code for n in range(3)] == [200, 200, 429]
    reply = await client.post(f"{HOOKS}/nope/bad", json={"content": "x"})
    assert (reply.status_code, "retry-after" in reply.headers) == (429, True)
    assert await texts(admin, where) == ["1", "0"]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_pictures(admin: Actor, user: Actor, client: httpx.AsyncClient) -> None:
    where = await channel(admin)
    made = await make(admin, where, profile_image_url=data_url(png()))
    path = f"{HOOKS}/{made['id']}/profile/image"
    shown = await user.client.get(path)
    assert (shown.content, shown.headers["content-type"]) == (png(), "image/png")
    assert (shown.headers["x-content-type-options"], "sandbox" in shown.headers["content-security-policy"]) == (
        "nosniff",
        True,
    )
    assert (await client.get(path)).status_code == 401
    assert (await user.client.get(f"{HOOKS}/nope/profile/image")).headers["content-type"] == "image/png"
    svg = "data:image/svg+xml;base64,PHN2Zz48L3N2Zz4="
    for bad in (svg, "data:image/png;base64,PHN2Zz48L3N2Zz4=", "javascript:alert(1)", "data:text/html,x"):
        form = {"name": "x", "profile_image_url": bad}
        assert await say(admin, "POST", f"/{where}/webhooks/create", form) == (400, {"detail": webhooks.NO_PICTURE}), (
            bad
        )
    # The address under which it is shown changes nothing.
    kept = {"name": "x", "profile_image_url": f"http://here{path}"}
    assert (await ok(admin, "POST", f"/{where}/webhooks/{made['id']}/update", kept))["profile_image_url"] == data_url(
        png()
    )


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_bounds_and_other_channels(admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MOST", 1)
    where, elsewhere = await channel(admin), await group(admin)
    made = await make(admin, where)
    assert (await say(admin, "POST", f"/{where}/webhooks/create", {"name": "two"}))[0] == 400
    for form in ({"name": ""}, {"name": "x" * 201}, {"name": "x", "profile_image_url": "d" * 400_001}):
        assert (await say(admin, "POST", f"/{where}/webhooks/create", form))[0] == 422
    assert (await say(admin, "POST", f"/{elsewhere}/webhooks/{made['id']}/update", {"name": "x"}))[0] == 404
    assert (await say(admin, "DELETE", f"/{elsewhere}/webhooks/{made['id']}/delete"))[0] == 404


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_logs_do_not_have_the_token(
    live: Live,
    admin: Actor,
    client: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = await make(admin, await channel(admin))

    async def fails(*_args: Any) -> None:
        raise RuntimeError

    with caplog.at_level(logging.DEBUG, logger="open_webui"):
        right = f"{HOOKS}/{made['id']}/{made['token']}"
        assert (await client.post(right, json={"content": "x"})).status_code == 200
        monkeypatch.setattr(webhooks, "post", fails)
        assert (await client.post(right, json={"content": "x"})).status_code == 500
    told = [getattr(record, "fields", {}).get("path") for record in caplog.records]
    assert told.count(f"{HOOKS}/{made['id']}/***") >= 2
    # httpx, which is the client here, tells whom it asks.
    ours = [record for record in caplog.records if record.name.startswith("open_webui")]
    assert not [record for record in ours if made["token"] in str(record.__dict__)]
