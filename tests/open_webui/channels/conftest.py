"""Channels are on; what tests say of them."""

from typing import Any

import pytest

from tests.support.live import Actor, Live

CHANNELS = "/api/v1/channels"
EVERYBODY = [{"principal_type": "user", "principal_id": "*", "permission": p} for p in ("read", "write")]


@pytest.fixture
async def live(live: Live) -> Live:
    await live.app.state.oui.save_config({"channels.enable": True})
    return live


async def say(actor: Actor, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """What is answered below /api/v1/channels."""
    extra: dict[str, Any] = {} if body is None else {"json": body}
    reply = await actor.client.request(method, f"{CHANNELS}{path}", **extra)
    return reply.status_code, reply.json()


async def ok(actor: Actor, method: str, path: str, body: Any = None) -> Any:
    status, value = await say(actor, method, path, body)
    assert status == 200, (method, path, value)
    return value


async def channel(admin: Actor, grants: Any = EVERYBODY, **form: Any) -> str:
    made = await ok(admin, "POST", "/create", {"name": "general", "access_grants": grants} | form)
    return str(made["id"])


async def group(owner: Actor, *members: Actor, name: str = "grp") -> str:
    form = {"name": name, "type": "group", "user_ids": [m.id for m in members]}
    return str((await ok(owner, "POST", "/create", form))["id"])


async def write(actor: Actor, where: str, content: str = "hello", **form: Any) -> dict[str, Any]:
    made: dict[str, Any] = await ok(actor, "POST", f"/{where}/messages/post", {"content": content} | form)
    return made


async def texts(actor: Actor, where: str, rest: str = "") -> list[str]:
    return [m["content"] for m in await ok(actor, "GET", f"/{where}/messages{rest}")]
