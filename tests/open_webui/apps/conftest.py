"""Channels and apps are on, and apps may be on this machine; what tests say of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from open_webui.jobs.kinds import Retry
from open_webui.models import jobs
from open_webui.services.apps import delivery
from tests.support.app_program import ALL, KEY, AppProgram, app_program
from tests.support.live import Actor, Live

APPS, CHANNELS = "/api/v1/apps", "/api/v1/channels"
EVERYBODY = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
OPEN = [{"principal_type": "user", "principal_id": "*", "permission": p} for p in ("read", "write")]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr(delivery, "RETRY", Retry(attempts=3, first=0.01, longest=0.01))


@pytest.fixture
async def live(live: Live) -> Live:
    state = live.app.state.oui
    await state.save_config({"channels.enable": True, "apps.enable": True})
    state.settings = state.settings.model_copy(update={"enable_rag_local_web_fetch": True})
    return live


@pytest.fixture
async def program() -> AsyncIterator[AppProgram]:
    async with app_program() as made:
        yield made


async def say(actor: Actor, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """What is answered at an address below /api/v1/apps, or at one below /api/v1."""
    extra: dict[str, Any] = {} if body is None else {"json": body}
    address = path if path.startswith("/api/") else f"{APPS}{path}"
    reply = await actor.client.request(method, address, **extra)
    return reply.status_code, reply.json()


async def ok(actor: Actor, method: str, path: str, body: Any = None) -> Any:
    status, value = await say(actor, method, path, body)
    assert status == 200, (method, path, value)
    return value


def form_of(program: AppProgram, **more: Any) -> dict[str, Any]:
    return {
        "manifest": program.manifest, "url": program.url, "api_key": KEY, "slug": "helper", "granted_scopes": ALL,
        "access_grants": EVERYBODY,
    } | more  # fmt: skip


async def connected(admin: Actor, program: AppProgram, **more: Any) -> str:
    """The id of an app that is connected."""
    made = await ok(admin, "POST", "", form_of(program, **more))
    shown = await ok(admin, "POST", f"/{made['id']}/connect", {})
    assert (shown["is_active"], shown["connection_status"]) == (True, "connected")
    return str(made["id"])


async def channel(admin: Actor, *app_ids: str, **form: Any) -> str:
    """An open channel with some apps."""
    made = await ok(admin, "POST", f"{CHANNELS}/create", {"name": "general", "access_grants": OPEN} | form)
    for app_id in app_ids:
        await ok(admin, "POST", f"{CHANNELS}/{made['id']}/apps", {"app_id": app_id})
    return str(made["id"])


async def write(actor: Actor, where: str, content: str, **form: Any) -> dict[str, Any]:
    made: dict[str, Any] = await ok(actor, "POST", f"{CHANNELS}/{where}/messages/post", {"content": content} | form)
    return made


def mention(app_id: str) -> str:
    return f"<@A:{app_id}|Helper> please"


async def messages(actor: Actor, where: str, count: int) -> list[dict[str, Any]]:
    """A channel's messages, the newest first, as soon as there are so many."""
    async with asyncio.timeout(30):
        while len(found := await ok(actor, "GET", f"{CHANNELS}/{where}/messages")) < count:  # noqa: ASYNC110 - rows tell nobody
            await asyncio.sleep(0.02)
    listed: list[dict[str, Any]] = found
    return listed


async def told(live: Live) -> None:
    """Waits until nothing is to be told to apps any more."""
    state = live.app.state.oui
    async with asyncio.timeout(30):
        while True:
            async with state.database.read() as connection:
                if not await jobs.count_live(connection, "app:"):
                    return
            await asyncio.sleep(0.02)
