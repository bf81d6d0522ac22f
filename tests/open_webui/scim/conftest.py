"""A server that a directory keeps, and the directory."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.support.live import Actor, Live, sign_up

TOKEN = "the token of the directory"
BASE = "/api/v1/scim/v2"
Serve = Callable[..., Awaitable[Live]]


class Directory:
    """Speaks to the server as a directory does."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        headers = {"content-type": "application/scim+json"} | options.pop("headers", {})
        return await self.client.request(method, f"{BASE}{path}", json=body, headers=headers, **options)

    async def make(self, name: str, **more: Any) -> dict[str, Any]:
        """An account."""
        reply = await self.ask("POST", "/Users", person(name) | more)
        assert reply.status_code == 201, reply.text
        made: dict[str, Any] = reply.json()
        return made

    async def group(self, name: str, *members: str, **more: Any) -> dict[str, Any]:
        body = {"displayName": name, "members": [{"value": one} for one in members]} | more
        reply = await self.ask("POST", "/Groups", body)
        assert reply.status_code == 201, reply.text
        made: dict[str, Any] = reply.json()
        return made

    async def change(self, path: str, *operations: dict[str, Any], **options: Any) -> httpx.Response:
        return await self.ask("PATCH", path, {"Operations": list(operations)}, **options)

    async def found(self, kind: str, wanted: str) -> list[str]:
        """What names those have that fulfil a filter."""
        reply = await self.ask("GET", f"/{kind}", params={"filter": wanted})
        assert reply.status_code == 200, reply.text
        return [one.get("userName", one["displayName"]) for one in reply.json()["Resources"]]


def person(name: str) -> dict[str, Any]:
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": f"{name}@example.com",
        "displayName": name.capitalize(),
        "emails": [{"value": f"{name}@example.com", "type": "work", "primary": True}],
        "active": True,
    }


def refusal(reply: httpx.Response) -> tuple[int, str]:
    """The status and the word of a refusal, which has the form of SCIM."""
    assert reply.headers["content-type"].startswith("application/scim+json"), reply.text
    body = reply.json()
    assert body["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
    assert body["status"] == str(reply.status_code)
    assert body["detail"].endswith("."), body
    return reply.status_code, body.get("scimType", "")


@pytest.fixture
def serve(make_live: Serve) -> Serve:
    async def start(**changes: Any) -> Live:
        return await make_live(enable_scim=True, scim_token=TOKEN, **changes)

    return start


@pytest.fixture
async def make_actor() -> AsyncIterator[Callable[[Live], Awaitable[tuple[Directory, Actor]]]]:
    """The directory and the first administrator of a server."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(live: Live) -> tuple[Directory, Actor]:
            admin = await sign_up(live, "Admin One")
            await stack.enter_async_context(admin.client)
            return Directory(await stack.enter_async_context(live.client(TOKEN))), admin

        yield make


@pytest.fixture
async def live(serve: Serve, connections: None) -> Live:
    return await serve()


@pytest.fixture
async def directory(live: Live, admin: Actor) -> AsyncIterator[Directory]:
    async with live.client(TOKEN) as client:
        yield Directory(client)
