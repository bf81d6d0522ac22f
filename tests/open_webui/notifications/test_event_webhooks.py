"""Webhooks of administrators: which events they are told of and whose, signed, again after failures, and off after many."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from open_webui.models import tables
from open_webui.models.event_webhooks import EventWebhook
from open_webui.principal import Principal
from open_webui.services import event_webhooks
from open_webui.services.event_names import Happened
from tests.open_webui.plugins.test_tools import say
from tests.support.live import PASSWORD, Actor, Live
from tests.support.receiver import Receiver, receiver

PLACE = "/api/events"
BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
FIELDS = [
    "id", "name", "url", "enabled", "events", "targets", "failures", "error", "created_at", "updated_at",
]  # fmt: skip


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """SQLite, where a test doesn't say which."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
async def hook() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


async def make(admin: Actor, url: str, **form: Any) -> dict[str, Any]:
    status, made = await say(admin, "POST", f"{PLACE}/webhooks", {"url": url} | form)
    assert status == 200, made
    webhook: dict[str, Any] = made
    return webhook


async def listed(admin: Actor) -> list[dict[str, Any]]:
    status, found = await say(admin, "GET", f"{PLACE}/webhooks")
    assert status == 200
    rows: list[dict[str, Any]] = found
    return rows


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(120):
        while not await true():  # noqa: ASYNC110 - rows tell nobody
            await asyncio.sleep(0.02)


@BOTH
async def test_the_life_of_a_webhook(live: Live, admin: Actor) -> None:
    status, catalogue = await say(admin, "GET", PLACE)
    assert (status, catalogue["schema"]) == (200, "0.12.4")
    names = [e["event"] for e in catalogue["events"]]
    assert {"chat.created", "auth.signup", "chat.finished", "system.startup.completed"} <= set(names)
    assert names == sorted(set(names))
    assert await listed(admin) == []
    made = await make(admin, "https://example.com/hook", name="w", events=["chat.created"])
    assert made["secret"].startswith("whsec_")
    shown = {name: value for name, value in made.items() if name != "secret"}
    assert list(shown) == FIELDS
    # The secret is told once.
    assert await listed(admin) == [shown]
    async with live.app.state.oui.database.read() as connection:
        (row,) = (await connection.execute(sa.select(tables.event_webhook))).all()
    assert "example.com" not in repr(row)
    path = f"{PLACE}/webhooks/{made['id']}"
    status, changed = await say(admin, "PUT", path, {"enabled": False, "targets": [{"type": "user", "id": admin.id}]})
    assert (status, changed["enabled"], changed["targets"]) == (200, False, [{"type": "user", "id": admin.id}])
    assert (changed["events"], changed["url"]) == (["chat.created"], "https://example.com/hook")
    # Null means everybody; left out, it stays.
    assert (await say(admin, "PUT", path, {"name": "v"}))[1]["targets"] is not None
    assert (await say(admin, "PUT", path, {"targets": None}))[1]["targets"] is None
    status, changed = await say(admin, "PUT", path, {"new_secret": True})
    assert changed["secret"] != made["secret"]
    assert await say(admin, "DELETE", path) == (200, True)
    assert (await say(admin, "DELETE", path))[0] == 404
    assert (await say(admin, "PUT", path, {}))[0] == 404


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({}, 422), ({"url": "https://e.co", "name": "x" * 101}, 422), ({"url": "https://e.co", "events": "*"}, 422),
        ({"url": "https://e.co", "targets": ["x"]}, 422), ({"url": ""}, 400), ({"url": "ftp://e.co"}, 400),
        ({"url": "https://a:b@e.co"}, 400), ({"url": "https://e.co", "events": ["no.such"]}, 400),
        ({"url": "https://e.co", "events": ["chat*"]}, 400),
        ({"url": "https://e.co", "targets": [{"type": "x", "id": "1"}]}, 400),
        ({"url": "https://e.co", "targets": [{"type": "user"}]}, 400),
    ],
)  # fmt: skip
async def test_bad_ones_are_refused(admin: Actor, form: dict[str, Any], status: int) -> None:
    assert (await say(admin, "POST", f"{PLACE}/webhooks", form))[0] == status
    assert await listed(admin) == []


async def test_they_are_for_administrators(user: Actor, client: httpx.AsyncClient) -> None:
    doors = [
        ("GET", ""),
        ("GET", "/webhooks"),
        ("POST", "/webhooks"),
        ("PUT", "/webhooks/x"),
        ("DELETE", "/webhooks/x"),
    ]
    for method, path in doors:
        assert (await client.request(method, PLACE + path, json={})).status_code == 401
        assert (await user.client.request(method, PLACE + path, json={"url": "https://e.co"})).status_code == 401


@BOTH
async def test_what_happens_is_told_signed(live: Live, admin: Actor, user: Actor, hook: Receiver) -> None:
    """As the Standard Webhooks have it, over the id, the time and the very bytes."""
    made = await make(admin, hook.url, events=["folder.*"])
    status, folder = await say(user, "POST", "/api/v1/folders/", {"name": "Trip"})
    assert status == 200
    await say(user, "POST", "/api/v1/memories/add", {"content": "not told"})
    await say(user, "DELETE", f"/api/v1/folders/{folder['id']}")
    got = await hook.wait(2)
    events = {message["event"]: (headers, body, message) for headers, body, message in got}
    assert sorted(events) == ["folder.created", "folder.deleted"]
    headers, body, message = events["folder.created"]
    assert message["subject"] == {"type": "folder", "id": folder["id"]}
    assert message["actor"] == {"id": user.id, "name": user.name, "email": user.email, "role": "user"}
    assert (message["data"]["name"], message["text"]) == ("Trip", f"Folder created: Trip ({user.name})")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(made["secret"].removeprefix("whsec_"))
    assert (
        headers["webhook-signature"]
        == "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    )
    assert message["id"] == headers["webhook-id"]


async def test_the_default_one_is_told_who_signs_up(live: Live, admin: Actor, hook: Receiver) -> None:
    state = live.app.state.oui
    await state.save_config({"webhook_url": hook.url})
    (shown,) = await listed(admin)
    assert (shown["id"], shown["url"], list(shown)) == ("default", hook.url, FIELDS)
    form = {"name": "New One", "email": "new.one@example.com", "password": PASSWORD}
    assert (await say(admin, "POST", "/api/v1/auths/add", form))[0] == 200
    await say(admin, "POST", "/api/v1/folders/", {"name": "not told"})
    ((headers, _, message),) = await hook.wait(1)
    assert (message["event"], "webhook-signature" in headers) == ("user.created", False)
    path = f"{PLACE}/webhooks/default"
    assert (await say(admin, "PUT", path, {"enabled": False}))[0] == 400
    assert (await say(admin, "PUT", path, {"url": "no address"}))[0] == 400
    assert (await say(admin, "PUT", path, {"url": "https://e.co"}))[1]["url"] == "https://e.co"
    assert await say(admin, "DELETE", path) == (200, True)
    assert (await listed(admin), (await say(admin, "DELETE", path))[0]) == ([], 404)


async def test_one_that_fails_for_good_is_switched_off(
    admin: Actor, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_webhooks, "MOST_FAILURES", 2)
    made = await make(admin, hook.url, events=["folder.created"])
    for number in (1, 2):
        hook.statuses = [404]
        await say(admin, "POST", "/api/v1/folders/", {"name": f"f{number}"})
        await hook.wait(number)

        async def counted(number: int = number) -> bool:
            return bool((await listed(admin))[0]["failures"] == number)

        await until(counted)
    (shown,) = await listed(admin)
    assert (shown["enabled"], "404" in shown["error"]) == (False, True)
    status, again = await say(admin, "PUT", f"{PLACE}/webhooks/{made['id']}", {"enabled": True})
    assert (status, again["failures"], again["error"]) == (200, 0, None)


async def test_one_that_answers_again_has_no_failures(live: Live, admin: Actor, hook: Receiver) -> None:
    await make(admin, hook.url, events=["folder.created"])
    hook.statuses = [404]
    for number in (1, 2):
        await say(admin, "POST", "/api/v1/folders/", {"name": f"f{number}"})
        await hook.wait(number)

        async def counted(number: int = number) -> bool:
            return bool((await listed(admin))[0]["failures"] == (1 if number == 1 else 0))

        await until(counted)


def row(**values: Any) -> EventWebhook:
    given: dict[str, Any] = {"events": ["*"], "targets": None} | values
    return EventWebhook(
        id="w", name="", enabled=True, sealed="", failures=0, error=None, created_at=0, updated_at=0, **given
    )


def test_whose_events_and_which() -> None:
    ann = Principal(id="ann", role="user", name="", email="", groups=frozenset({"g"}))
    bob = Principal(id="bob", role="user", name="", email="")
    wants = event_webhooks.wants
    assert wants(row(), ann, "chat.created")
    assert wants(row(), None, "system.startup.completed")
    # None but the server's own.
    assert not wants(row(targets=[]), ann, "chat.created")
    assert wants(row(targets=[]), None, "system.startup.completed")
    for chosen in ({"type": "user", "id": "ann"}, {"type": "group", "id": "g"}):
        assert wants(row(targets=[chosen]), ann, "chat.created")
        assert not wants(row(targets=[chosen]), bob, "chat.created")
    # A group's id is no person's.
    assert not wants(row(targets=[{"type": "user", "id": "g"}]), ann, "chat.created")
    for events, fits in (
        (["chat.created"], True),
        (["chat.*"], True),
        (["cha.*"], False),
        (["chat.created.*"], False),
        ([], False),
    ):
        assert wants(row(events=events), ann, "chat.created") is fits


async def test_too_many_at_once_are_not_told(
    live: Live, admin: Actor, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in memory nor in the database does more than so much wait."""
    await make(admin, hook.url)
    hooks = live.app.state.oui.event_webhooks
    monkeypatch.setattr(event_webhooks, "MOST_JOBS", 0)
    hooks.note(Happened("chat.created", {}), None)
    await asyncio.wait({hooks._task}, timeout=60)
    async with live.app.state.oui.database.read() as connection:
        query = sa.select(sa.func.count()).where(tables.job.c.kind == "tell an event")
        assert await connection.scalar(query) == 0
    monkeypatch.setattr(event_webhooks, "MOST_WEBHOOKS", 1)
    assert (await say(admin, "POST", f"{PLACE}/webhooks", {"url": hook.url}))[0] == 400
