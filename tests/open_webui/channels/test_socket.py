"""Events of channels: in order and once on every process, to those who may read the channel at that moment and no others."""

import asyncio
from typing import Any

import pytest

from open_webui.events import Hearers
from open_webui.socket import channel_events
from open_webui.socket import channel_news as news
from open_webui.socket.channel_news import InOrder, _Told
from tests.open_webui.channels.conftest import EVERYBODY, channel, group, ok, say, write
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.plugins.test_tools import to
from tests.open_webui.socket.test_frames import until
from tests.open_webui.socket.test_processes import page_at
from tests.open_webui.socket.test_processes import three as processes
from tests.support import live as live_module
from tests.support.live import Actor, Live

Heard = list[dict[str, Any]]
sqlite_only = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
three = processes


@pytest.fixture
def carrier() -> dict[str, Any]:
    return {}


def heard(page: Page, *kinds: str) -> Heard:
    """What a tab heard of channels, but for what has lists fetched anew."""
    found = [data for name, data in page.others if name == "events:channel"]
    return [e for e in found if (e["data"]["type"] in kinds if kinds else e["data"]["type"] != "channel:created")]


def contents(page: Page) -> list[str]:
    return [e["data"]["data"]["content"] for e in heard(page, "message")]


async def tell(page: Page, where: str, kind: str, data: Any = None, **more: Any) -> None:
    body = {"channel_id": where, "message_id": None, "data": {"type": kind} | ({} if data is None else {"data": data})}
    await page.socket.call("events:channel", body | more, timeout=10)


async def test_what_is_told_of_messages(admin: Actor, user: Actor) -> None:
    where = await channel(admin)
    async with open_page(admin.client, admin.token) as mine, open_page(user.client, user.token) as theirs:
        one = await write(user, where, "hello", temp_id="t")
        path = f"/{where}/messages/{one['id']}"
        await ok(admin, "POST", f"{path}/reactions/add", {"name": "x"})
        await ok(admin, "POST", f"{path}/reactions/add", {"name": "x"})
        await ok(user, "POST", f"{path}/update", {"content": "edited"})
        await ok(user, "POST", f"{path}/pin", {"is_pinned": True})
        await write(admin, where, "answer", parent_id=one["id"])
        await ok(user, "DELETE", f"{path}/delete")
        await until(lambda: len(heard(mine)) == len(heard(theirs)) == 7)
        assert heard(mine) == heard(theirs)
        kinds = [
            "message",
            "message:reaction:add",
            "message:update",
            "message:update",
            "message",
            "message:reply",
            "message:delete",
        ]
        assert [e["data"]["type"] for e in heard(mine)] == kinds
        first, reacted, *_, replied, _ = heard(mine)
        author = {"id": user.id, "name": user.name, "role": "user"}
        assert (first["channel_id"], first["message_id"], first["user"]) == (where, one["id"], author)
        assert first["channel"]["id"] == where
        assert first["data"]["data"]["temp_id"] == "t"
        assert {k: v for k, v in first["data"]["data"].items() if k in one} == one
        assert reacted["data"]["data"]["name"] == "x"
        assert reacted["data"]["data"]["reactions"] == [
            {"name": "x", "users": [{"id": admin.id, "name": "Admin One"}], "count": 1}
        ]
        assert (replied["message_id"], replied["data"]["data"]["reply_count"]) == (one["id"], 1)


async def test_who_comes_and_goes_hears_at_once(admin: Actor, user: Actor, other: Actor) -> None:
    where = await group(admin, user)
    async with open_page(user.client, user.token) as theirs, open_page(other.client, other.token) as third:
        await write(admin, where, "one")
        await ok(admin, "POST", f"/{where}/update/members/add", {"user_ids": [other.id]})
        await write(admin, where, "two")
        await ok(admin, "POST", f"/{where}/update/members/remove", {"user_ids": [user.id]})
        await write(admin, where, "three")
        await until(lambda: len(contents(third)) == 2)
        await theirs.socket.call("heartbeat", {}, timeout=10)
        assert (contents(theirs), contents(third)) == (["one", "two"], ["two", "three"])
        assert [e["channel"]["id"] for e in heard(theirs, "channel:created")] == [where, where]
        await ok(admin, "DELETE", f"/{where}/delete")
        await until(lambda: len(heard(third, "channel:created")) == 3)


async def test_grants_and_groups_decide(admin: Actor, user: Actor, other: Actor) -> None:
    form = {"name": "G", "description": ""}
    made = (await admin.client.post("/api/v1/groups/create", json=form)).json()["id"]
    grant = {"principal_type": "group", "principal_id": made, "permission": "read"}
    where = await channel(admin, [grant, to(other, "read")])
    async with open_page(user.client, user.token) as theirs, open_page(other.client, other.token) as third:
        await write(admin, where, "one")
        await admin.client.post(f"/api/v1/groups/id/{made}/users/add", json={"user_ids": [user.id]})

        async def hears() -> bool:
            await write(admin, where, "again")
            return bool(contents(theirs))

        async with asyncio.timeout(60):
            while not await hears():  # noqa: ASYNC110 - the sweep tells nobody
                await asyncio.sleep(0.1)
        assert "one" not in contents(theirs)
        await ok(admin, "POST", f"/{where}/access/update", {"access_grants": []})
        await write(admin, where, "last")
        for page in (theirs, third):
            await page.socket.call("heartbeat", {}, timeout=10)
        assert "last" not in contents(theirs) + contents(third)


async def test_typing(admin: Actor, user: Actor, other: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_events, "TYPING_SECONDS", 1_000.0)
    where = await channel(admin, [to(user, "write"), to(other, "read")])
    async with (
        open_page(admin.client, admin.token) as mine,
        open_page(user.client, user.token) as theirs,
        open_page(other.client, other.token) as reader,
    ):
        for _ in range(3):
            await tell(theirs, where, "typing", {"typing": True}, message_id="m")
        await tell(reader, where, "typing", {"typing": True})
        await tell(theirs, where, "typing", {"typing": False})
        await until(lambda: all(len(heard(page, "typing")) == 2 for page in (mine, theirs, reader)))
        author = {"id": user.id, "name": user.name, "role": "user"}
        on = {"type": "typing", "data": {"typing": True}}
        assert heard(mine, "typing")[0] == {"channel_id": where, "message_id": "m", "data": on, "user": author}


async def test_having_looked(admin: Actor, user: Actor, other: Actor) -> None:
    where = await channel(admin, [to(user, "read")])
    await write(admin, where)
    async with open_page(user.client, user.token) as theirs, open_page(other.client, other.token) as third:
        assert (await ok(user, "GET", "/"))[0]["unread_count"] == 1
        for page in (theirs, third):
            await tell(page, where, "last_read_at")
        shown = await ok(user, "GET", f"/{where}")
        assert (shown["unread_count"], shown["last_read_at"] > 10**18) == (0, True)
        await tell(theirs, where, "last_read_at")
        # Nothing is new, and nothing is written.
        assert (await ok(user, "GET", f"/{where}"))["last_read_at"] == shown["last_read_at"]
        await write(admin, where)
        assert (await ok(user, "GET", "/"))[0]["unread_count"] == 1


@sqlite_only
@pytest.mark.parametrize(
    "body",
    [None, 7, [], {}, {"channel_id": 7, "data": {"type": "typing"}}, {"channel_id": "x", "data": 7}, {"channel_id": "nope",
     "data": {"type": "typing", "data": 7}}, {"channel_id": "a\x00b", "data": {"type": "last_read_at"}}, {"channel_id": "x" * 256,
     "data": {"type": "last_read_at"}}, {"channel_id": "nope", "data": {"type": "last_read_at"}}],
)  # fmt: skip
async def test_bad_events(admin: Actor, body: Any) -> None:
    async with open_page(admin.client, admin.token) as page:
        for name in ("events:channel", "join-channels"):
            assert await page.socket.call(name, body, timeout=10) is None
        assert heard(page) == []


@sqlite_only
async def test_switched_off_nobody_types(live: Live, admin: Actor, user: Actor) -> None:
    where = await channel(admin)
    state = live.app.state.oui
    tree = state.config["user.permissions"]
    async with open_page(admin.client, admin.token) as mine, open_page(user.client, user.token) as theirs:
        await state.save_config({"user.permissions": tree | {"features": tree["features"] | {"channels": False}}})
        await tell(theirs, where, "typing", {"typing": True})
        await write(admin, where, "hello")
        await until(lambda: contents(mine) == ["hello"])
        await theirs.socket.call("heartbeat", {}, timeout=10)
        assert (heard(theirs), heard(mine, "typing")) == ([], [])
        await ok(admin, "POST", f"/{where}/members/mute", {"is_channel_muted": True})
        await until(lambda: len(heard(mine, "channel:mute")) == 1)


@on_postgresql
async def test_one_order_on_every_process(three: list[Live], monkeypatch: pytest.MonkeyPatch) -> None:
    """People on three processes write at once: each tab hears each message once, in the order of the database."""
    # What is missing comes, however slow this machine is: no process goes on without it.
    monkeypatch.setattr(news, "PATIENCE", 60.0)
    for live in three:
        await live.app.state.oui.save_config({"channels.enable": True})
    ann = await live_module.sign_up(three[0], "Ann")
    where = await channel(ann, EVERYBODY)
    async with page_at(three[0], ann) as one, page_at(three[1], ann) as two, page_at(three[2], ann) as last:
        # From the first message on each process knows what was told; before, it goes on after a moment.
        await write(ann, where, "first")
        await until(lambda: contents(one) == contents(two) == contents(last) == ["first"])

        async def writes(live: Live, number: int) -> None:
            async with live.client(ann.token) as http:
                for n in range(8):
                    body = {"content": f"{number}.{n}"}
                    reply = await http.post(f"/api/v1/channels/{where}/messages/post", json=body)
                    assert reply.status_code == 200, reply.text

        await asyncio.gather(*(writes(live, number) for number, live in enumerate(three)))
        await until(lambda: all(len(contents(page)) >= 25 for page in (one, two, last)))
        stored = [m["content"] for m in reversed(await ok(ann, "GET", f"/{where}/messages?limit=100"))]
        assert contents(one) == contents(two) == contents(last) == stored
        # Who is put out in one process hears nothing of the next message in another.
        bob = await live_module.sign_up(three[0], "Bob", role="user", admin=ann)
        private = await group(ann, bob)
        async with page_at(three[2], bob) as tab:
            await ok(ann, "POST", f"/{private}/update/members/remove", {"user_ids": [bob.id]})
            async with three[1].client(ann.token) as http:
                await http.post(f"/api/v1/channels/{private}/messages/post", json={"content": "without Bob"})
            await until(lambda: "without Bob" in contents(last))
            await tab.socket.call("heartbeat", {}, timeout=10)
            assert contents(tab) == []
        await bob.client.aclose()
    await ann.client.aclose()


def told(number: int | None, where: str = "c") -> _Told:
    return _Told(where, number, Hearers(), str(number).encode())


class TestInOrder:
    """Without sockets: what comes in any order goes on in one."""

    @pytest.fixture
    async def line(self, monkeypatch: pytest.MonkeyPatch) -> tuple[InOrder, list[int | None]]:
        monkeypatch.setattr(news, "PATIENCE", 0.05)
        monkeypatch.setattr(news, "FIRST_PATIENCE", 0.01)
        out: list[int | None] = []
        return InOrder(lambda one: out.append(one.number)), out

    async def test_any_order(self, line: tuple[InOrder, list[int | None]]) -> None:
        order, out = line
        for number in (2, 1, 3, 5, 4, 6):
            order.take(told(number))
        await until(lambda: len(out) == 6)
        assert out == [1, 2, 3, 4, 5, 6]
        # From now on nothing waits without need.
        order.take(told(7))
        assert out[-1] == 7

    async def test_what_never_comes_is_not_waited_for(self, line: tuple[InOrder, list[int | None]]) -> None:
        order, out = line
        order.take(told(1))
        await until(lambda: out == [1])
        order.take(told(3))
        order.take(told(4))
        assert out == [1]
        await until(lambda: out == [1, 3, 4])
        order.take(told(2))
        assert out == [1, 3, 4, 2]
        order.take(told(5))
        assert out[-1] == 5

    async def test_what_has_no_number_waits_for_nothing(self, line: tuple[InOrder, list[int | None]]) -> None:
        order, out = line
        order.take(told(9))
        order.take(told(None))
        assert out == [None]

    async def test_bounds(self, line: tuple[InOrder, list[int | None]], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(news, "MOST_CHANNELS", 2)
        monkeypatch.setattr(news, "MOST_WAITING", 2)
        order, out = line
        for where in "abc":
            order.take(told(1, where))
        assert (len(order._lines), out) == (2, [1])
        await until(lambda: len(out) == 3)
        for number in (5, 7, 9):
            order.take(told(number, "c"))
        assert out[3:] == [5]


@sqlite_only
async def test_a_pending_account_hears_nothing(admin: Actor, pending: Actor) -> None:
    where = await channel(admin)
    async with open_page(pending.client, pending.token) as tab, open_page(admin.client, admin.token) as mine:
        await write(admin, where)
        await until(lambda: len(contents(mine)) == 1)
        assert heard(tab) == []
    assert (await say(pending, "GET", f"/{where}"))[0] == 401
