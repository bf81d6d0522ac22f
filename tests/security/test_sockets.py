"""Sockets: who may do what over them, and that they end with their token."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import socketio

from open_webui.access import identify
from open_webui.models import accounts
from open_webui.services.terminals import watch
from open_webui.socket import server
from tests.open_webui.chat.page import Page, open_page
from tests.support.live import Actor, Live
from tests.support.raw_socket import RawSocket


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


@pytest.fixture
async def stranger(live: Live, user: Actor) -> AsyncIterator[Page]:
    async with open_page(user.client, user.token) as opened:
        yield opened


async def gone(page: Page) -> None:
    async with asyncio.timeout(30):
        await page.gone.wait()


async def on_chat(page: Page, chat_id: Any, kind: Any, data: Any = None) -> Any:
    body = {"chat_id": chat_id, "data": {"type": kind} | ({} if data is None else {"data": data})}
    return await page.socket.call("events:chat", body, timeout=30)


async def make_chat(page: Page) -> str:
    reply = await page.post(page.ask("echo", "A secret"))
    await page.idle(reply["chat_id"])
    return str(reply["chat_id"])


def test_all_ends_within_five_seconds() -> None:
    """R7: what is known of an account, the sweep's round, and the time that a socket outlives its token."""
    assert identify.CACHE_SECONDS < 5
    assert server.SWEEP_SECONDS + server.SETTLE_SECONDS + server.PARTING < 5
    assert watch.SWEEP_SECONDS < 5


@pytest.mark.parametrize("token", [None, "", "bad", "x" * 4000, 7, {"a": 1}])
@pytest.mark.parametrize("event", ["heartbeat", "usage", "events:chat"])
async def test_nobody_connects_but_may_do_nothing(live: Live, token: Any, event: str) -> None:
    page = Page(live.client(), "")
    await page.socket.connect(
        live.url, auth={"token": token}, socketio_path="/ws/socket.io", transports=["websocket"], wait_timeout=30
    )
    assert await page.socket.call("user-join", {"auth": {"token": token}}, timeout=30) is None
    await page.socket.emit(event, {"chat_id": "c", "data": {"type": "join"}})
    await gone(page)
    await page.http.aclose()


async def test_the_pending_are_nobody(live: Live, pending: Actor) -> None:
    page = Page(pending.client, pending.token)
    await page.socket.connect(
        live.url,
        auth={"token": pending.token},
        socketio_path="/ws/socket.io",
        transports=["websocket"],
        wait_timeout=30,
    )
    assert await page.socket.call("user-join", {"auth": {"token": pending.token}}, timeout=30) is None
    await page.socket.emit("heartbeat", {})
    await gone(page)


async def test_unknown_events_are_passed_over(page: Page) -> None:
    for name in ("nonsense", "ydoc:document:join", "a:b:c", ""):
        await page.socket.emit(name, {"x": 1})
    for data in (None, 7, "x", [], [[]], {}, {"auth": 7}, {"auth": {"token": []}}):
        for name in ("user-join", "usage", "heartbeat", "events:chat"):
            await page.socket.emit(name, data)
    for body in ({"chat_id": 7, "data": {"type": "join"}}, {"chat_id": "c", "data": "x"},
                 {"chat_id": "x" * 999, "data": {"type": "join"}}, {"chat_id": ["c"], "data": {"type": ["join"]}},
                 {"chat_id": "c", "data": {"type": {"a": 1}}}):  # fmt: skip
        assert not await page.socket.call("events:chat", body, timeout=30)
    assert page.socket.connected


async def test_somebody_elses_chat_can_not_be_joined_typed_in_or_read(page: Page, stranger: Page) -> None:
    chat_id = await make_chat(page)
    page.events.clear()
    for name in (chat_id, "no-such-chat", "local:x", "%"):
        assert await on_chat(stranger, name, "join") is False
        assert await on_chat(stranger, name, "typing", {"typing": True}) is False
        await on_chat(stranger, name, "last_read_at")
        await on_chat(stranger, name, "leave")
    assert await on_chat(page, chat_id, "join") is True
    assert await on_chat(stranger, chat_id, "typing", {"typing": True}) is False
    assert {e["data"]["type"] for e in page.events} == {"chat:presence"}
    assert page.data("chat:presence")[-1]["users"] == [{"id": (await me(page)), "name": "Admin One"}]
    assert stranger.events == []
    second = page.ask("echo", "Another secret", chat_id=chat_id)
    await page.post(second)
    await page.idle(chat_id)
    await stranger.socket.call("user-join", {"auth": {"token": stranger.token}}, timeout=5)
    assert stranger.events == []


async def me(page: Page) -> str:
    return str((await page.http.get("/api/v1/auths/")).json()["id"])


async def test_reading_is_told_to_oneself(page: Page) -> None:
    chat_id = await make_chat(page)
    page.events.clear()
    await on_chat(page, chat_id, "last_read_at")
    await page.until(lambda p: bool(p.data("chat:list")))
    assert page.data("chat:list")[0]["chat_id"] == chat_id
    [listed] = (await page.http.get("/api/v1/chats/?page=1")).json()
    assert listed["last_read_at"] == page.data("chat:list")[0]["last_read_at"]


class TestEnd:
    async def test_with_its_token(self, page: Page) -> None:
        assert (await page.http.post("/api/v1/auths/signout")).status_code == 200
        await gone(page)

    async def test_with_the_account(self, admin: Actor, user: Actor, stranger: Page) -> None:
        assert (await admin.client.delete(f"/api/v1/users/{user.id}")).status_code == 200
        await gone(stranger)

    @pytest.mark.parametrize("role", ["pending", "admin"])
    async def test_with_the_role(self, admin: Actor, user: Actor, stranger: Page, role: str) -> None:
        form = {"role": role, "name": user.name, "email": user.email, "profile_image_url": ""}
        assert (await admin.client.post(f"/api/v1/users/{user.id}/update", json=form)).status_code == 200
        await gone(stranger)
        assert stranger.others == [("access:updated", {})]

    async def test_with_a_sign_out_at_another_replica(self, live: Live, page: Page) -> None:
        """Which this process learns from the database alone."""
        state = live.app.state.oui
        claims = state.tokens.verify(page.token)
        async with state.database.write() as unit:
            await accounts.revoke(unit.connection, claims.jti, claims.exp)
        await gone(page)

    async def test_with_a_role_changed_at_another_replica(self, live: Live, user: Actor, stranger: Page) -> None:
        from open_webui.models import tables

        async with live.app.state.oui.database.write() as unit:
            change = tables.user.update().where(tables.user.c.id == user.id).values(role="pending")
            await unit.connection.execute(change)
        await gone(stranger)


async def test_a_socket_that_changes_hands_forgets_the_first(live: Live, page: Page, user: Actor) -> None:
    chat_id = await make_chat(page)
    assert await on_chat(page, chat_id, "join") is True
    joined = await page.socket.call("user-join", {"auth": {"token": user.token}}, timeout=5)
    assert joined == {"id": user.id, "name": user.name}
    page.events.clear()
    async with open_page(page.http, page.token) as other_tab:
        body = other_tab.ask("echo", "A second secret", chat_id=chat_id)
        await other_tab.post(body)
        await other_tab.idle(chat_id)
    await page.socket.call("user-join", {"auth": {"token": user.token}}, timeout=5)
    assert page.events == []


async def test_a_bad_token_does_not_sign_in_over_a_good_one(page: Page, admin: Actor) -> None:
    assert await page.socket.call("user-join", {"auth": {"token": "bad"}}, timeout=5) is None
    assert await page.socket.call("user-join", {"auth": {"token": page.token}}, timeout=5) == {
        "id": admin.id, "name": admin.name,
    }  # fmt: skip


async def test_a_packet_of_a_megabyte_ends_its_socket_only(live: Live, page: Page, admin: Actor) -> None:
    async with open_page(admin.client, admin.token) as second:
        await second.socket.emit("usage", {"model": "x" * 2**20})
        await gone(second)
    assert await page.socket.call("user-join", {"auth": {"token": page.token}}, timeout=5)


async def test_one_person_has_so_many_sockets(
    live: Live, admin: Actor, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_SOCKETS", 3)
    async with contextlib.AsyncExitStack() as stack:

        async def opened(actor: Actor) -> RawSocket:
            socket = await stack.enter_async_context(await RawSocket.open(urlsplit(live.url).port or 0))
            await socket.sign_in(actor.token)
            return socket

        other = await opened(admin)
        mine = [await opened(user) for _ in range(5)]
        for ended in mine[:2]:
            await ended.heard_until_over()
        for socket in (other, *mine[2:]):
            assert await socket.ask("heartbeat", {}) == []
        # Signing in again over one that is there makes no more of them.
        assert await mine[2].ask("user-join", {"auth": {"token": user.token}})
        assert await mine[3].ask("heartbeat", {}) == []
        assert len(live.app.state.sockets.presence.sids_of(user.id)) == 3


async def test_only_the_transport_that_is_on(live: Live) -> None:
    client = socketio.AsyncClient(reconnection=False)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(live.url, socketio_path="/ws/socket.io", transports=["polling"], wait_timeout=30)
