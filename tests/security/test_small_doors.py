"""Smaller holes, each closed for its kind: files, attempts, what people see of each other, bodies, headers, keys."""

import asyncio
import contextlib
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.middleware.exceptions import ExceptionMiddleware

from open_webui import administration, middleware
from open_webui.connections.local.library import Library
from open_webui.connections.steering import STEERING
from open_webui.env import Settings
from open_webui.errors import TooManyRequests
from open_webui.internal.db import open_database
from open_webui.services.attempts import (
    PER_ACCOUNT,
    PER_ACCOUNT_ANYWHERE,
    PER_ADDRESS,
    SharedSignInAttempts,
    SignInAttempts,
)
from tests.support.live import PASSWORD, Actor, Live
from tests.support.pictures import chat as chat_with_messages
from tests.support.pictures import picture, question
from tests.support.server import Server
from tests.support.upstream import Upstream

KB, MB = 1024, 2**20


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


class TestFiles:
    @pytest.fixture
    def open_umask(self) -> Iterator[None]:
        before = os.umask(0o022)
        yield
        os.umask(before)

    @pytest.mark.usefixtures("open_umask")
    def test_what_is_stored_is_for_the_servers_account_alone(self, tmp_path: Path) -> None:
        """Also what an earlier release made."""
        data = tmp_path / "data"
        data.mkdir(mode=0o755)
        with contextlib.closing(sqlite3.connect(data / "webui.db")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        assert stat.S_IMODE((data / "webui.db").stat().st_mode) == 0o644
        server = Server(
            tmp_path, {"LOG_TO_FILE": "true", "LOG_DIR": str(tmp_path / "logs"), "WEBUI_SECRET_KEY": ""}
        ).start()
        try:
            form = {"name": "Admin", "email": "admin@example.com", "password": PASSWORD}
            with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
                token = client.post("/api/v1/auths/signup", json=form).json()["token"]
                bearer = {"Authorization": f"Bearer {token}"}
                chat = {"chat": chat_with_messages(question(picture()))}
                assert client.post("/api/v1/chats/new", json=chat, headers=bearer).status_code == 200
            assert any(path.is_file() for path in (data / "blobs").rglob("*"))
            found = [*data.rglob("*"), data, *(tmp_path / "logs").rglob("*"), tmp_path / "logs"]
            assert {"webui.db", "webui.db-wal", "secret-key", "oui-backend.log"} <= {path.name for path in found}
            assert {str(path) for path in found if path.stat().st_mode & 0o077} == set()
        finally:
            server.kill()

    @pytest.mark.parametrize("name", ["loop.gguf", "loop", "deep/loop.gguf"])
    def test_a_link_that_leads_to_itself_ends_no_look_at_the_models(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "deep").mkdir()
        (tmp_path / name).symlink_to(tmp_path / name)
        (tmp_path / "gone.gguf").symlink_to(tmp_path / "nowhere")
        (tmp_path / "up").symlink_to(tmp_path)
        found = Library(tmp_path).scan()
        assert all(model.error for model in found)


class TestAttempts:
    @pytest.fixture(params=["sqlite", "postgresql"])
    def database_kind(self, request: pytest.FixtureRequest) -> str:
        kind: str = request.param
        return kind

    @pytest.fixture
    async def attempts(self, database_kind: str, settings: Settings) -> AsyncIterator[SignInAttempts]:
        """As a process has them: in memory on SQLite, in the database on PostgreSQL."""
        database = open_database(settings)
        yield SignInAttempts() if database_kind == "sqlite" else SharedSignInAttempts(database)
        await database.close()

    async def test_a_stranger_locks_nobody_out(self, attempts: SignInAttempts) -> None:
        for _ in range(PER_ACCOUNT):
            await attempts.sign_in("192.0.2.1", "owner@example.com")
        for _ in range(PER_ADDRESS):
            with pytest.raises(TooManyRequests):
                await attempts.sign_in("192.0.2.1", "owner@example.com")
        await attempts.sign_in("192.0.2.2", "owner@example.com")

    async def test_an_address_that_has_had_its_tries_counts_for_no_account(self, attempts: SignInAttempts) -> None:
        for n in range(PER_ADDRESS):
            await attempts.sign_in("192.0.2.1", f"{n}@example.com")
        for _ in range(PER_ACCOUNT_ANYWHERE):
            with pytest.raises(TooManyRequests):
                await attempts.sign_in("192.0.2.1", "owner@example.com")
        await attempts.sign_in("192.0.2.2", "owner@example.com")

    async def test_many_strangers_guess_no_more_than_so_often(self, attempts: SignInAttempts) -> None:
        for n in range(PER_ACCOUNT_ANYWHERE):
            await attempts.sign_in(f"192.0.{n // 250}.{n % 250}", "owner@example.com")
        with pytest.raises(TooManyRequests):
            await attempts.sign_in("192.0.99.1", "owner@example.com")
        assert PER_ACCOUNT_ANYWHERE >= 10 * PER_ACCOUNT


class TestPeople:
    async def test_plain_users_see_name_picture_and_presence_of_others(
        self, admin: Actor, user: Actor, other: Actor
    ) -> None:
        for path in (f"/api/v1/users/{other.id}/info", f"/api/v1/users/{admin.id}/info"):
            shown = (await user.client.get(path)).json()
            assert (shown["email"], shown["role"], shown["last_active_at"], shown["bio"], shown["timezone"], shown["groups"]) == (
                "", "user", None, None, None, [],
            )  # fmt: skip
            assert shown["name"]
        found = (await user.client.get("/api/v1/users/search")).json()["users"]
        assert {u["email"] for u in found if u["id"] != user.id} == {""}
        assert {u["role"] for u in found} == {"user"}
        assert [u["email"] for u in found if u["id"] == user.id] == [user.email]
        assert (await admin.client.get(f"/api/v1/users/{other.id}/info")).json()["email"] == other.email

    async def test_nor_can_they_look_for_it_or_order_by_it(self, admin: Actor, user: Actor, other: Actor) -> None:
        assert (await user.client.get("/api/v1/users/search?query=example.com")).json()["total"] == 0
        assert (await admin.client.get("/api/v1/users/search?query=example.com")).json()["total"] == 3
        orders = set()
        for order in ("role", "email", "last_active_at", "created_at", "name"):
            found = (await user.client.get(f"/api/v1/users/search?order_by={order}&direction=asc")).json()["users"]
            orders.add(tuple(u["id"] for u in found))
        assert orders == {(admin.id, user.id, other.id)}


@pytest.mark.parametrize("field", ["principal_type", "permission", "principal_id"])
@pytest.mark.parametrize("value", [[], ["user"], {}, {"a": 1}, 7, None])
async def test_a_grant_of_another_kind_is_no_failure_of_ours(admin: Actor, field: str, value: Any) -> None:
    chat = (await admin.client.post("/api/v1/chats/new", json={"chat": {"title": "t"}})).json()["id"]
    await admin.client.post(f"/api/v1/chats/{chat}/share")
    folder = (await admin.client.post("/api/v1/folders/", json={"name": "f"})).json()["id"]
    model = {"id": "m", "name": "m", "base_model_id": None, "meta": {}, "params": {}}
    assert (await admin.client.post("/api/v1/models/create", json=model)).status_code == 200
    grants = [{"principal_type": "user", "principal_id": "*", "permission": "read", field: value}]
    for path, body in (
        (f"/api/v1/chats/shared/{chat}/access/update", {}), (f"/api/v1/folders/{folder}/access/update", {}),
        ("/api/v1/models/model/access/update", {"id": "m"}), ("/api/v1/models/create", model | {"id": "n"}),
    ):  # fmt: skip
        reply = await admin.client.post(path, json=body | {"access_grants": grants})
        assert reply.status_code in {400, 422}, (path, reply.status_code, reply.text)


class TestSteering:
    async def test_plain_users_do_not_steer_the_provider(self, admin: Actor, user: Actor, upstream: Upstream) -> None:
        grants = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
        model = {"id": "fixed", "name": "fixed", "meta": {}, "params": {}, "access_grants": grants}
        assert (await admin.client.post("/api/v1/models/create", json=model)).status_code == 200
        steering = dict.fromkeys(STEERING, "x") | {"aws_secret_access_key": "x", "litellm_params": {"a": 1}}
        body = {"model": "fixed", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5, "stream": False}
        for actor, expected in ((user, set[str]()), (admin, steering.keys())):
            reply = await actor.client.post("/api/chat/completions", json=body | steering)
            assert reply.status_code == 200, reply.text
            sent = upstream.chats[-1].body
            assert sent["temperature"] == 0.5
            assert sent.keys() & steering.keys() == expected


class TestBodies:
    @pytest.mark.parametrize("path", ["/api/v1/auths/signin", "/api/v1/auths/signup", "/api/v1/auths/signout"])
    @pytest.mark.parametrize("chunked", [False, True])
    @pytest.mark.usefixtures("admin")
    async def test_before_sign_in_they_are_small(self, live: Live, path: str, chunked: bool) -> None:
        text = b'{"email":"admin.one@example.com","name":"x","password":"' + b"x" * 70 * KB + b'"}'

        async def pieces() -> Any:
            yield text

        async with live.client() as client:
            headers = {"content-type": "application/json"}
            reply = await client.post(path, content=pieces() if chunked else text, headers=headers)
            assert reply.status_code == 413, reply.text

    async def test_those_of_all_have_a_bound(self) -> None:
        around = middleware.Around(ExceptionMiddleware(_until_told), 2 * MB, [].append)
        for small, expected in ((False, 503), (True, 200)):
            told = asyncio.Event()
            clients = [
                asyncio.create_task(_post(around, 2 * MB, told, address=f"192.0.2.{n}"))
                for n in range(middleware.BODIES_AT_ONCE)
            ]
            await asyncio.sleep(0.01)
            assert await _post(around, 10 * KB if small else 2 * MB, told, wait=False) == expected
            told.set()
            assert set(await asyncio.gather(*clients)) == {200}
            assert around._held == 0

    @pytest.mark.parametrize(
        ("address", "size", "expected"),
        [("2001:db8:1:2::9", 2 * MB, 503), ("2001:db8:1:2::9", 10 * KB, 200), ("2001:db8:1:3::9", 2 * MB, 200)],
    )
    async def test_those_of_one_address_leave_room_for_others(self, address: str, size: int, expected: int) -> None:
        """As of one who sends large bodies up to their last byte, and that after an hour."""
        around = middleware.Around(ExceptionMiddleware(_until_told), 2 * MB, [].append)
        told = asyncio.Event()
        slow = [
            asyncio.create_task(_post(around, 2 * MB, told, address=f"2001:db8:1:2::{n}"))
            for n in range(middleware.BODIES_OF_ADDRESS)
        ]
        await asyncio.sleep(0.01)
        assert await _post(around, size, told, wait=False, address=address) == expected
        told.set()
        assert set(await asyncio.gather(*slow)) == {200}
        assert around._held == 0
        assert await _post(around, 2 * MB, told, address="2001:db8:1:2::9") == 200

    async def test_from_a_cookie_they_are_json(self, live: Live, user: Actor) -> None:
        async with live.client() as browser:
            form = {"email": user.email, "password": PASSWORD}
            assert (await browser.post("/api/v1/auths/signin", json=form)).status_code == 200
            for kind in ("text/plain", "application/x-www-form-urlencoded", "text/plain; charset=x", ""):
                headers = {"content-type": kind, "origin": live.url} if kind else {"origin": live.url}
                for path in ("/api/v1/chats/new", "/api/chat/completions", "/openai/x", "/ollama/api/chat"):
                    reply = await browser.post(path, content=b'{"chat":{}}', headers=headers)
                    assert reply.status_code == 415, (path, kind, reply.text)
            assert (
                await browser.post("/api/v1/chats/new", json={"chat": {}}, headers={"origin": live.url})
            ).status_code == 200
            assert (await browser.post("/api/v1/chats/archive/all", headers={"origin": live.url})).status_code == 200
        # curl's default, with a bearer token, as clients of Ollama have it.
        headers = {"content-type": "application/x-www-form-urlencoded"}
        reply = await user.client.post("/ollama/api/chat", content=b'{"model":"x"}', headers=headers)
        assert reply.status_code != 415

    async def test_an_origin_is_a_scheme_too(self, live: Live, user: Actor) -> None:
        host = urlsplit(live.url).netloc
        async with live.client() as browser:
            await browser.post("/api/v1/auths/signin", json={"email": user.email, "password": PASSWORD})
            secure = {"x-forwarded-proto": "https"}
            for headers, expected in (
                ({"origin": f"http://{host}"}, 200), ({"origin": f"https://{host}"}, 200), ({"origin": f"ftp://{host}"}, 403),
                ({"origin": f"https://{host}"} | secure, 200), ({"origin": f"http://{host}"} | secure, 403),
                ({"origin": host}, 403), ({"origin": "null"}, 403),
            ):  # fmt: skip
                reply = await browser.post("/api/v1/chats/new", json={"chat": {}}, headers=headers)
                assert reply.status_code == expected, headers


async def _until_told(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    if scope["told"] is not None:
        await scope["told"].wait()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _post(app: Any, size: int, told: asyncio.Event, *, wait: bool = True, address: str = "192.0.2.99") -> int:
    status = []
    pieces = [{"type": "http.request", "body": b"x" * size, "more_body": False}]

    async def receive() -> Any:
        return pieces.pop() if pieces else await asyncio.sleep(10)

    async def send(message: Any) -> None:
        status.extend([message["status"]] if message["type"] == "http.response.start" else [])

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/x",
        "headers": [],
        "told": told if wait else None,
        "client": (address, 1),
        "query_string": b"",
    }
    with contextlib.suppress(Exception):
        await app(scope, receive, send)
    return int(status[0])


async def test_private_answers_are_stored_by_no_cache(live: Live, admin: Actor, user: Actor) -> None:
    private = "/api/v1/auths/ /api/v1/chats/ /api/models /api/v1/users/user/settings /api/config /openai/models /ollama/api/tags"
    for path in (*private.split(), "/api/v1/nothing"):
        assert (await user.client.get(path)).headers["cache-control"] == "no-store", path
    for path in ("/", "/static/favicon.svg", f"/api/v1/users/{user.id}/profile/image"):
        assert (await user.client.get(path)).headers.get("cache-control") != "no-store", path


async def test_the_page_loads_nothing_of_others(live: Live) -> None:
    """No source of its policy is a scheme of the web, and nothing is left to what a browser would allow unasked."""
    async with live.client() as client:
        policy = (await client.get("/")).headers["content-security-policy"]
    parts = {part.split()[0]: part.split()[1:] for part in policy.split(";") if part.strip()}
    assert parts["default-src"] == ["'self'"] or parts["default-src"] == ["'none'"]
    allowed = {source for sources in parts.values() for source in sources}
    assert allowed <= {"'self'", "'none'", "data:", "blob:"}, policy
    assert {"data:", "blob:"}.isdisjoint(parts.get("script-src", []))


class TestKeys:
    @pytest.fixture
    async def key(self, live: Live, user: Actor) -> str:
        await live.app.state.oui.save_config(
            {"auth.enable_api_keys": True, "user.permissions": {"features": {"api_keys": True}}}
        )
        reply = await user.client.post("/api/v1/auths/api_key")
        assert reply.status_code == 200, reply.text
        return str(reply.json()["api_key"])

    async def test_a_key_makes_shows_and_deletes_no_key(self, live: Live, key: str) -> None:
        async with live.client(key) as client:
            assert (await client.get("/api/v1/chats/")).status_code == 200
            for method in ("GET", "POST", "DELETE"):
                assert (await client.request(method, "/api/v1/auths/api_key")).status_code == 403

    @pytest.mark.parametrize("keep", [False, True])
    async def test_a_new_password_ends_keys_unless_told_otherwise(
        self, live: Live, user: Actor, key: str, keep: bool
    ) -> None:
        form = {"password": PASSWORD, "new_password": "another " + PASSWORD} | ({"keep_api_keys": True} if keep else {})
        assert (await user.client.post("/api/v1/auths/update/password", json=form)).status_code == 200
        async with live.client(key) as client:
            assert (await client.get("/api/v1/chats/")).status_code == (200 if keep else 401)

    @pytest.mark.parametrize("way", ["administrator", "command", "name alone"])
    async def test_so_does_one_that_somebody_else_sets(
        self, live: Live, admin: Actor, user: Actor, key: str, way: str
    ) -> None:
        if way == "command":
            said = await administration.set_password(live.settings, user.email, lambda: "another " + PASSWORD)
            assert "API key" in said
            live.app.state.oui.identifier.drop()
        else:
            form = {"password": "another " + PASSWORD} if way == "administrator" else {"name": "Else", "password": ""}
            reply = await admin.client.post(f"/api/v1/users/{user.id}/update", json=form)
            assert reply.status_code == 200, reply.text
        ended = way != "name alone"
        async with live.client(key) as client:
            assert (await client.get("/api/v1/chats/")).status_code == (401 if ended else 200)
        assert (await user.client.get("/api/v1/chats/")).status_code == (401 if ended else 200)


class TestMessages:
    @pytest.mark.parametrize(
        ("field", "values"),
        [("statusHistory", ["x", {}, [1], 5]), ("sources", ["x", [None]]), ("files", [{}, ["x"]]), ("followUps", ["x", [{}]]),
         ("output", [{}]), ("code_executions", [7]),
         ("embeds", ["x", [{}], ["javascript:alert(1)"], [" java\nscript:alert(1)"], ["data:text/html,x"], ["file:///etc/passwd"]])],
    )  # fmt: skip
    async def test_what_pages_walk_is_a_list_of_what_they_expect(
        self, user: Actor, field: str, values: list[Any]
    ) -> None:
        for value in values:
            message = {"id": "m", "role": "assistant", "content": "hi", "parentId": None, field: value}
            chat = {"title": "t", "history": {"currentId": "m", "messages": {"m": message}}}
            reply = await user.client.post("/api/v1/chats/new", json={"chat": chat})
            assert reply.status_code == 422, (value, reply.text)
            # What another program exported is mended instead.
            reply = await user.client.post("/api/v1/chats/import", json={"chats": [{"chat": chat}]})
            assert reply.status_code == 200, (value, reply.text)
            assert reply.headers["x-mended"] == "[[0, 1]]"
            stored = (await user.client.get(f"/api/v1/chats/{reply.json()[0]['id']}")).json()["chat"]["history"][
                "messages"
            ]["m"]
            assert stored[field] == []

    @pytest.mark.parametrize("kind", ["files", "chat:message:files", "embeds", "chat:message:follow_ups"])
    @pytest.mark.parametrize("value", ["x", {}, 7, None, [[]], [None], [7], ["javascript:alert(1)"], [{"a": 1}]])
    async def test_nor_do_events_bring_anything_else(self, user: Actor, kind: str, value: Any) -> None:
        key = kind.rpartition(":")[2]
        good = {"files": [{"a": 1}], "embeds": [], "follow_ups": ["javascript:alert(1)"]}[key] == value
        message = {"id": "m", "role": "assistant", "content": "hi", "parentId": None}
        chat = {"title": "t", "history": {"currentId": "m", "messages": {"m": message}}}
        made = (await user.client.post("/api/v1/chats/new", json={"chat": chat})).json()
        path = f"/api/v1/chats/{made['id']}"
        reply = await user.client.post(f"{path}/messages/m/event", json={"type": kind, "data": {key: value}})
        assert reply.status_code == (200 if good else 400), reply.text
        stored = (await user.client.get(path)).json()["chat"]["history"]["messages"]["m"]
        assert stored.get(key) == (value if good and key == "files" else None)

    @pytest.mark.parametrize("embeds", ["x", [{}], ["javascript:alert(1)"], ["data:text/html,x"]])
    async def test_what_a_tool_gave_is_drawn_too(self, admin: Actor, embeds: Any) -> None:
        """In the items of an answer, and in questions of a page's turn."""
        items = [{"type": "function_call_output", "call_id": "1", "embeds": embeds}, {"type": "message"}]
        message = {"id": "m", "role": "assistant", "content": "hi", "parentId": None, "output": items}
        chat = {"title": "t", "history": {"currentId": "m", "messages": {"m": message}}}
        assert (await admin.client.post("/api/v1/chats/new", json={"chat": chat})).status_code == 422
        reply = await admin.client.post("/api/v1/chats/import", json={"chats": [{"chat": chat}]})
        path = f"/api/v1/chats/{reply.json()[0]['id']}"
        stored = (await admin.client.get(path)).json()["chat"]["history"]["messages"]["m"]
        assert stored["output"] == [items[0] | {"embeds": []}, items[1]]
        question = {"id": "q", "role": "user", "content": "hi", "parentId": "m", "embeds": embeds}
        turn = {"model": "fixed", "session_id": "s", "id": "a", "chat_id": path[14:], "user_message": question}
        reply = await admin.client.post("/api/chat/completions", json=turn)
        assert reply.status_code == 400, reply.text
        assert "embeds" in reply.text
        assert "q" not in (await admin.client.get(path)).json()["chat"]["history"]["messages"]

    async def test_what_is_good_stays(self, user: Actor) -> None:
        message = {
            "id": "m",
            "role": "assistant",
            "content": "hi",
            "parentId": None,
            "statusHistory": [{"done": True}],
            "sources": [{}],
            "files": [{"type": "image", "url": "https://x.example/a"}],
            "followUps": ["a"],
            "output": [{"type": "message"}, {"type": "function_call_output", "embeds": ["//x.example", "<b>x</b>"]}],
            "embeds": ["https://x.example/a", "<p>a: b</p>", "http://x.example"],
        }
        chat = {"title": "t", "history": {"currentId": "m", "messages": {"m": message}}}
        reply = await user.client.post("/api/v1/chats/new", json={"chat": chat})
        assert reply.status_code == 200, reply.text
        stored = (await user.client.get(f"/api/v1/chats/{reply.json()['id']}")).json()["chat"]["history"]["messages"][
            "m"
        ]
        assert {name: stored[name] for name in message} == message
