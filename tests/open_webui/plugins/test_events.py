"""Event functions: what they are told, in whose name, and that nothing waits for them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from open_webui.errors import OuiError
from open_webui.services import plugin_events
from open_webui.services.event_names import BY_ROUTE, Happened, happened
from open_webui.services.plugin_events import MOST_WAITING, EventFunctions
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.plugins.test_in_chats import made
from tests.support.live import PASSWORD, Actor, Live

pytestmark = pytest.mark.timeout(180)
SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
# It says what it heard by failing with it.
TELLING = """
class Event:
    async def event(self, event: dict, __event_name__: str = None, __event_id__: str = None, __id__: str = None,
                    __event__=None, __app__=None, __request__=None):
        from open_webui.models.users import Users

        assert event["id"] == __event_id__ and __event__.event == __event_name__ and __app__ is not None
        actor = event["actor"] or {}
        own = await Users.get_user_by_id(actor["id"]) if actor else None
        raise ValueError(f"{__id__} {__event_name__} {actor.get('name')} {own and own.email} {event['subject']} {event['data']}")
"""


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None) -> Live:
    return await make_live(bypass_model_access_control=True)


@pytest.fixture
async def page(live: Live, user: Actor) -> AsyncIterator[Page]:
    async with open_page(user.client, user.token) as opened:
        yield opened


async def told(live: Live, admin: Actor, count: int) -> list[dict[str, Any]]:
    """What failed, once so many events were told."""
    task = live.app.state.oui.event_functions._task
    if task is not None:
        await asyncio.wait({task}, timeout=60)
    reply = await admin.client.get("/api/v1/plugins/events")
    assert reply.status_code == 200, reply.text
    shown = reply.json()
    assert (shown["waiting"], shown["dropped"], len(shown["failures"])) == (0, 0, count), shown
    return list(reversed(shown["failures"]))


@SQLITE
async def test_functions_hear_what_people_do_in_their_name(live: Live, admin: Actor, user: Actor, page: Page) -> None:
    await made(admin, "functions", "teller", TELLING)
    # It is heard that it was switched on, for all models and at all.
    await told(live, admin, 1)
    live.app.state.oui.event_functions._failures.clear()
    body = page.ask("fixed", "Hi")
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    await user.client.delete(f"/api/v1/chats/{chat_id}")
    reply = await user.client.post("/api/v1/auths/signin", json={"email": user.email, "password": PASSWORD})
    assert reply.status_code == 200, reply.text
    failures = await told(live, admin, 4)
    assert [one["event"] for one in failures] == ["chat.created", "chat.finished", "chat.deleted", "auth.login"]
    start = f"teller chat.deleted {user.name} {user.email} {{'type': 'chat', 'id': '{chat_id}'}}"
    assert failures[2]["detail"].startswith(start)
    assert f"auth.login {user.name} {user.email}" in failures[3]["detail"]
    assert "token" not in failures[3]["detail"]
    assert (await user.client.get("/api/v1/plugins/events")).status_code == 401


class Host:
    """A host whose functions wait until they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.told: list[str] = []

    async def call(self, _source: Any, _method: str, arguments: dict[str, Any], **_: Any) -> None:
        await self.go.wait()
        self.told.append(arguments["event"]["event"])
        raise OuiError("no")


@SQLITE
async def test_a_slow_function_delays_nothing_and_too_much_is_not_told(
    live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, host = live.app.state.oui, Host()
    body = {"id": "slow", "name": "Slow", "content": TELLING, "meta": {"description": ""}}
    assert (await admin.client.post("/api/v1/functions/create", json=body)).status_code == 200
    assert (await admin.client.post("/api/v1/functions/id/slow/toggle")).status_code == 200
    names = ("catalogue", "database", "identifier", "settings")
    deps: Any = SimpleNamespace(plugins=host, **{name: getattr(state, name) for name in names})
    monkeypatch.setattr(plugin_events.plugin_calls, "answering", lambda *_: None)
    functions = EventFunctions(deps)
    for n in range(MOST_WAITING + 10):
        functions.note(Happened(f"event.{n}", {"type": "system", "id": None}))
    shown = functions.shown()
    assert (shown["waiting"], shown["dropped"]) == (MOST_WAITING, 10)
    functions._waiting.clear()
    functions.note(Happened("last", {"type": "system", "id": None}))
    host.go.set()
    await functions.close()
    assert host.told == ["last"]
    assert [one["detail"] for one in functions.shown()["failures"]] == ["no"]


@SQLITE
def test_each_event_is_of_a_route(live: Live) -> None:
    routes = {(method, route.path) for route in live.app.routes for method in getattr(route, "methods", ())}
    assert BY_ROUTE.keys() <= routes


@pytest.mark.parametrize(
    ("reply", "event"),
    [
        (b'{"id": "x", "name": "X", "is_active": false, "token": "secret"}',
         Happened("function.disabled", {"type": "function", "id": "f"}, {"name": "X", "is_active": False})),
        (b'{"is_active": true}', Happened("function.enabled", {"type": "function", "id": "f"}, {"is_active": True})),
        (b"", Happened("function.enabled", {"type": "function", "id": "f"})),
        (b"[1]", Happened("function.enabled", {"type": "function", "id": "f"})),
    ],
)  # fmt: skip
def test_what_is_told_is_short_and_holds_no_secret(reply: bytes, event: Happened) -> None:
    row = BY_ROUTE["POST", "/api/v1/functions/id/{id}/toggle"]
    assert happened(row, {"id": "f"}, reply) == event


def test_a_copy_is_a_thing_of_its_own() -> None:
    row = BY_ROUTE["POST", "/api/v1/chats/{id}/clone"]
    assert happened(row, {"id": "old"}, b'{"id": "new"}').subject == {"type": "chat", "id": "new"}
    assert happened(row, {"id": "old"}, b"null").subject == {"type": "chat", "id": "old"}
