"""What one process changes acts on the others, by the news of it at once; without news, within the nets' time."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from open_webui.internal.bus import followed
from tests.open_webui.chat.page import open_page
from tests.open_webui.models.test_workspace import EVERYBODY, create, form, ids, open_base
from tests.support import tiny_gguf
from tests.support.live import PASSWORD, Actor, Live, sign_up
from tests.support.upstream import Upstream

SETTINGS = "/api/v1/users/user/settings"
Ending = Callable[[Actor, Actor], Awaitable[Any]]


async def soon(check: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    """Waits until something holds. What would find it without news comes later than that (`nets_are_too_slow`)."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110 - a reply tells nobody that it will change
            await asyncio.sleep(0.01)


async def change_watermark(admin: Actor, text: str) -> None:
    settings = (await admin.client.get("/api/v1/auths/admin/config")).json()
    reply = await admin.client.post("/api/v1/auths/admin/config", json=settings | {"RESPONSE_WATERMARK": text})
    assert reply.status_code == 200, reply.text


async def watermark(actor: Actor) -> str:
    found: str = (await actor.client.get("/api/config")).json()["ui"]["response_watermark"]
    return found


async def allow(admin: Actor, section: str, name: str) -> None:
    tree = (await admin.client.get("/api/v1/users/default/permissions")).json()
    tree[section][name] = True
    assert (await admin.client.post("/api/v1/users/default/permissions", json=tree)).status_code == 200


async def may(actor: Actor, section: str, name: str) -> bool:
    found: bool = (await actor.client.get("/api/v1/users/permissions")).json()[section][name]
    return found


class TestConfiguration:
    @pytest.fixture(autouse=True)
    def nets_are_too_slow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is known within half a minute is known by the news."""
        monkeypatch.setattr("open_webui.state.LOOK_SECONDS", 60.0)

    async def test_settings(self, admin: Actor, there: SimpleNamespace) -> None:
        for actor, other, text in ((admin, there.admin, "one"), (there.admin, admin, "two")):
            await change_watermark(actor, text)

            async def known(at: Actor = other, text: str = text) -> bool:
                return await watermark(at) == text

            await soon(known)

    async def test_the_first_account_closes_sign_up_everywhere(self, live: Live, second: Live) -> None:
        async with second.client() as nobody:
            assert (await nobody.get("/api/config")).json()["features"]["enable_signup"] is True
            first = await sign_up(live, "Admin One")
            await first.client.aclose()

            async def closed() -> bool:
                return (await nobody.get("/api/config")).json()["features"]["enable_signup"] is False

            await soon(closed)

    async def test_what_everybody_may_do(self, admin: Actor, there: SimpleNamespace) -> None:
        assert not await may(there.user, "workspace", "models")
        await allow(admin, "workspace", "models")
        await soon(lambda: may(there.user, "workspace", "models"))


class TestWithoutNews:
    @pytest.mark.usefixtures("silenced")
    async def test_settings_are_seen_without_news(self, admin: Actor, there: SimpleNamespace) -> None:
        """As after a lost message, or a command beside the server."""
        await change_watermark(admin, "unheard")

        async def known() -> bool:
            return await watermark(there.admin) == "unheard"

        await soon(known, followed.LOOK_SECONDS + 30)


async def sign_out(_admin: Actor, user: Actor) -> Any:
    return await user.client.post("/api/v1/auths/signout")


async def change_password(_admin: Actor, user: Actor) -> Any:
    return await user.client.post(
        "/api/v1/auths/update/password", json={"password": PASSWORD, "new_password": "another horse"}
    )


async def revoke(admin: Actor, user: Actor) -> Any:
    return await admin.client.post(f"/api/v1/users/{user.id}/sessions/revoke")


async def end_one(admin: Actor, user: Actor) -> Any:
    """An administrator ends one session of somebody's."""
    at = f"/api/v1/users/{user.id}/sessions"
    found = (await admin.client.get(at)).json()
    return [await admin.client.delete(f"{at}/{one['id']}") for one in found][-1]


async def demote(admin: Actor, user: Actor) -> Any:
    return await admin.client.post(f"/api/v1/users/{user.id}/update", json={"role": "pending"})


async def delete(admin: Actor, user: Actor) -> Any:
    return await admin.client.delete(f"/api/v1/users/{user.id}")


class TestAccess:
    @pytest.fixture(autouse=True)
    def nets_are_too_slow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What ends within two seconds has ended by the news."""
        monkeypatch.setattr("open_webui.socket.server.SWEEP_SECONDS", 60.0)
        monkeypatch.setattr("open_webui.access.identify.CACHE_SECONDS", 60.0)

    @pytest.mark.parametrize(
        "ending", [sign_out, change_password, revoke, end_one, demote, delete], ids=lambda e: e.__name__
    )
    async def test_requests_sockets_and_streams_end(
        self, admin: Actor, user: Actor, there: SimpleNamespace, upstream: Upstream, ending: Ending
    ) -> None:
        await open_base(admin, "stall")
        await soon(lambda: has(there.user, "stall"))
        body = {"model": "stall", "messages": [{"role": "user", "content": "Hi"}], "stream": True}

        async def read() -> None:
            async with there.user.client.stream("POST", "/api/chat/completions", json=body) as reply:
                assert reply.status_code == 200
                async for _ in reply.aiter_raw():
                    pass

        async with open_page(there.user.client, user.token) as page:
            stream = asyncio.create_task(read())
            await upstream.wait_for_async(lambda u: bool(u.chats))
            assert (await there.user.client.get(SETTINGS)).status_code == 200
            assert (await ending(admin, user)).status_code == 200

            async def refused() -> bool:
                return (await there.user.client.get(SETTINGS)).status_code == 401

            await soon(refused)
            async with asyncio.timeout(30):
                await page.gone.wait()
                await asyncio.wait({stream})
            assert stream.exception() is not None
            assert (await there.admin.client.get(SETTINGS)).status_code == 200

    async def test_an_answer_stops(self, admin: Actor, user: Actor, there: SimpleNamespace, upstream: Upstream) -> None:
        await open_base(admin, "gated")
        await soon(lambda: has(there.user, "gated"))
        async with open_page(there.user.client, user.token) as page:
            await page.post(page.ask("gated", "Go on for ever"))
            await upstream.wait_for_async(lambda u: bool(u.chats))
            assert (await demote(admin, user)).status_code == 200
            await upstream.wait_for_async(lambda u: u.chats[0].disconnected, timeout=30)

    async def test_a_group_and_what_its_members_may_do(self, admin: Actor, user: Actor, there: SimpleNamespace) -> None:
        group = {"name": "G", "description": "", "permissions": {"workspace": {"models": True}}}
        made = (await admin.client.post("/api/v1/groups/create", json=group)).json()
        at = f"/api/v1/groups/id/{made['id']}"

        async def is_told(expected: bool) -> None:
            async def same() -> bool:
                return await may(there.user, "workspace", "models") is expected

            await soon(same)

        await is_told(False)
        for address, body, expected in (
            (f"{at}/users/add", {"user_ids": [user.id]}, True),
            (f"{at}/update", group | {"permissions": {}}, False),
            (f"{at}/update", group, True),
            (f"{at}/users/remove", {"user_ids": [user.id]}, False),
            (f"{at}/users/add", {"user_ids": [user.id]}, True),
        ):
            reply = await admin.client.post(address, json=body)
            assert reply.status_code == 200, reply.text
            await is_told(expected)
        assert (await admin.client.delete(f"{at}/delete")).status_code == 200
        await is_told(False)

    @pytest.mark.parametrize("ending", ["grants", "link", "all links", "member", "group"])
    async def test_who_looks_at_a_chat_that_is_no_longer_shared(
        self, admin: Actor, user: Actor, there: SimpleNamespace, ending: str
    ) -> None:
        group = (await admin.client.post("/api/v1/groups/create", json={"name": "G", "description": ""})).json()["id"]
        added = await admin.client.post(f"/api/v1/groups/id/{group}/users/add", json={"user_ids": [user.id]})
        assert added.status_code == 200, added.text
        async with open_page(admin.client, admin.token) as owner, open_page(there.user.client, user.token) as reader:
            chat_id = (await owner.post(owner.ask("echo", "Hello")))["chat_id"]
            await owner.idle(chat_id)
            grants = [{"principal_type": "group", "principal_id": group, "permission": "read"}]
            at = f"/api/v1/chats/shared/{chat_id}/access/update"
            for address, body in (
                (f"/api/v1/chats/{chat_id}/share", {"share_mode": "continue"}),
                (at, {"access_grants": grants}),
            ):
                assert (await admin.client.post(address, json=body)).status_code == 200
            join = {"chat_id": chat_id, "data": {"type": "join"}}

            async def joined() -> bool:
                return bool(await reader.socket.call("events:chat", join, timeout=30))

            await soon(joined)
            method, address, body = {
                "grants": ("POST", at, {"access_grants": []}),
                "link": ("DELETE", f"/api/v1/chats/{chat_id}/share", None),
                "all links": ("DELETE", "/api/v1/chats/share/all", None),
                "member": ("POST", f"/api/v1/groups/id/{group}/users/remove", {"user_ids": [user.id]}),
                "group": ("DELETE", f"/api/v1/groups/id/{group}/delete", None),
            }[ending]
            reply = await admin.client.request(method, address, json=body)
            assert reply.status_code == 200, reply.text
            await reader.until(lambda p: bool(p.data("chat:access")), timeout=30)
            assert await joined() is False


async def has(actor: Actor, model_id: str) -> bool:
    return model_id in await ids(actor)


class TestModels:
    async def test_a_model_and_its_grants(self, admin: Actor, user: Actor, there: SimpleNamespace) -> None:
        await open_base(admin)
        await create(admin)
        await soon(lambda: has(there.admin, "my-model"))
        assert not await has(there.user, "my-model")
        grants = {"id": "my-model", "access_grants": [EVERYBODY]}
        assert (await admin.client.post("/api/v1/models/model/access/update", json=grants)).status_code == 200
        await soon(lambda: has(there.user, "my-model"))
        renamed = form(name="Renamed", access_grants=[EVERYBODY])
        assert (await there.admin.client.post("/api/v1/models/model/update", json=renamed)).status_code == 200

        async def is_renamed() -> bool:
            listed = (await user.client.get("/api/models")).json()["data"]
            return any(model["name"] == "Renamed" for model in listed)

        await soon(is_renamed)
        assert (await admin.client.post("/api/v1/models/model/delete", json={"id": "my-model"})).status_code == 200

        async def is_gone() -> bool:
            return not await has(there.user, "my-model")

        await soon(is_gone)

    async def test_models_go_with_their_owner(self, admin: Actor, user: Actor, there: SimpleNamespace) -> None:
        await allow(admin, "workspace", "models")
        await open_base(admin)
        await soon(lambda: may(user, "workspace", "models"))
        await create(user)
        await soon(lambda: has(there.admin, "my-model"))
        assert (await delete(admin, user)).status_code == 200
        assert not await has(admin, "my-model")

        async def is_gone() -> bool:
            return not await has(there.admin, "my-model")

        await soon(is_gone)

    async def test_models_of_this_machine(
        self, live: Live, admin: Actor, there: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("open_webui.connections.local.models.missing_extra", lambda _backend: None)
        place = live.settings.data_dir / "models" / "tiny.gguf"
        place.parent.mkdir(parents=True)
        tiny_gguf.write_gguf(place, says="Hello")
        form = {"name": "added", "source": str(place)}
        assert (await admin.client.post("/api/v1/llamaforge/models", json=form)).status_code == 200
        await soon(lambda: has(there.admin, "added"))
        assert (await admin.client.delete("/api/v1/llamaforge/models/added")).status_code == 200

        async def is_gone() -> bool:
            return not await has(there.admin, "added")

        await soon(is_gone)

    async def test_their_order(self, admin: Actor, there: SimpleNamespace) -> None:
        assert await has(there.admin, "echo")
        settings = (await admin.client.get("/api/v1/configs/models")).json()
        reply = await admin.client.post(
            "/api/v1/configs/models", json=settings | {"MODEL_ORDER_LIST": ["slow", "echo"]}
        )
        assert reply.status_code == 200, reply.text

        async def is_ordered() -> bool:
            return (await ids(there.admin))[:2] == ["slow", "echo"]

        await soon(is_ordered)
