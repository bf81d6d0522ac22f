"""R1: every door of the built application declares what it demands of its caller, and demands it."""

import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from open_webui.access.policy import PUBLIC, USER
from open_webui.env import Settings
from open_webui.failures import FOR_ADMINISTRATORS
from open_webui.main import create_app
from open_webui.printing import BEGIN, END, Declared, declared, policy_table
from open_webui.routing import new_router
from tests.support.live import Actor, Live

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architecture" / "authorization.md"

# Whoever opens a door to everybody writes it here too, on purpose.
OPEN = {
    "GET /api/changelog",
    "GET /api/config",
    "GET /api/v1/chats/share/{share_id}",
    "GET /api/v1/files/{id}/content",
    "GET /api/v1/scim/v2/ResourceTypes",
    "GET /api/v1/scim/v2/ResourceTypes/{name}",
    "GET /api/v1/scim/v2/Schemas",
    "GET /api/v1/scim/v2/Schemas/{name}",
    "GET /api/v1/scim/v2/ServiceProviderConfig",
    "GET /api/version",
    "GET /health",
    "GET /health/db",
    "GET /manifest.json",
    "GET /oauth/clients/{client_id}/callback",
    "GET /oauth/{provider}/callback",
    "GET /oauth/{provider}/login",
    "GET /oauth/{provider}/login/callback",
    "POST /api/v1/auths/mfa/challenge",
    "POST /api/v1/auths/mfa/enroll/confirm",
    "POST /api/v1/auths/mfa/enroll/start",
    "POST /api/v1/auths/mfa/passkey/enroll",
    "POST /api/v1/auths/mfa/passkey/start",
    "POST /api/v1/auths/mfa/passkey/verify",
    "POST /api/v1/auths/mfa/recover",
    "POST /api/v1/auths/mfa/verify",
    "POST /api/v1/auths/oauth/{provider}/token/exchange",
    "POST /api/v1/auths/passkeys/signin/start",
    "POST /api/v1/auths/passkeys/signin/verify",
    "POST /oauth/backchannel-logout",
    "GET /ollama/",
    "GET /opensearch.xml",
    "GET /ready",
    "GET /robots.txt",
    "GET /static/{path:path}",
    "POST /api/v1/channels/webhooks/{webhook_id}/{token}",
    "GET /user.png",
    "GET /{path:path}",
    "HEAD /ollama/",
    "HEAD /static/{path:path}",
    "HEAD /{path:path}",
    "POST /api/v1/auths/ldap",
    "POST /api/v1/auths/signin",
    "POST /api/v1/auths/signout",
    "POST /api/v1/auths/signup",
    "event user-join",
}


@pytest.fixture
def database_kind() -> str:
    """Nothing here depends on it."""
    return "sqlite"


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(Settings(_env_file=None, env="test", data_dir=tmp_path))


def routes(app: FastAPI, *levels: str) -> list[Declared]:
    """The HTTP doors of these levels, except those that have no answer but the page's own."""
    return [
        d
        for d in declared(app)
        if d.kind not in {"event", "socket"} and d.policy is not None and d.policy.level in levels
    ]


async def ask(client: httpx.AsyncClient, door: Declared) -> httpx.Response:
    """Asks at a door, with an id that nothing has and a body that fits nothing."""
    path = re.sub(r"\{[^}]*\}", "no-such-id", door.path)
    if door.kind in {"GET", "HEAD", "DELETE"}:
        return await client.request(door.kind, path)
    return await client.request(door.kind, path, json={"nothing": True})


async def not_refused(client: httpx.AsyncClient, doors: list[Declared]) -> list[str]:
    """The doors that let this client in."""
    let_in = []
    for door in doors:
        reply = await ask(client, door)
        # A HEAD has no sentence.
        if reply.status_code not in {401, 403} or (door.kind != "HEAD" and not isinstance(reply.json()["detail"], str)):
            let_in.append(f"{door.kind} {door.path}: {reply.status_code}")
    return let_in


def test_every_door_declares_a_policy(app: FastAPI) -> None:
    doors = declared(app)
    assert [d for d in doors if d.policy is None] == []
    assert {"GET", "POST", "event"} <= {d.kind for d in doors}


def test_doors_that_are_open_to_everybody_are_known(app: FastAPI) -> None:
    doors = [d for d in declared(app) if d.policy is not None and d.policy.level in {"public", "optional"}]
    assert {f"{d.kind} {d.path}" for d in doors} - OPEN == set()


def test_a_door_is_declared_once(app: FastAPI) -> None:
    names = [(d.kind, d.path) for d in declared(app)]
    assert sorted(n for n in set(names) if names.count(n) > 1) == []


def test_a_route_without_a_policy_can_not_be_made() -> None:
    async def forgotten() -> None: ...

    with pytest.raises(TypeError, match="declares no policy"):
        new_router().add_api_route("/forgotten", forgotten)


def test_a_policy_can_ask_for_more() -> None:
    wanted = USER.needs("chat.delete").on("chat", "delete")
    assert wanted.describe() == "user, permission chat.delete, delete chat"
    assert PUBLIC.describe() == "public"


async def test_nobody_is_let_in_without_a_token(live: Live, client: httpx.AsyncClient) -> None:
    doors = routes(live.app, "pending", "user", "admin")
    assert len(doors) > 30
    replies = {f"{d.kind} {d.path}": await ask(client, d) for d in doors}
    assert {name: r.status_code for name, r in replies.items() if r.status_code != 401} == {}
    # A browser shows /metrics as it is, so it says for whom it is.
    assert replies.pop("GET /metrics").json()["detail"] == FOR_ADMINISTRATORS
    said = {name: r.json()["detail"] for name, r in replies.items() if not name.startswith("HEAD ")}
    assert {name: text for name, text in said.items() if text != "Not authenticated"} == {}


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "sk-" + "0" * 32, "x" * 10_000])
async def test_a_bad_credential_lets_nobody_in(live: Live, token: str) -> None:
    async with live.client(token) as client:
        replies = {f"{d.kind} {d.path}": await ask(client, d) for d in routes(live.app, "pending", "user", "admin")}
    assert {name: r.status_code for name, r in replies.items() if r.status_code != 401} == {}


async def test_a_user_is_no_admin(live: Live, user: Actor) -> None:
    assert await not_refused(user.client, routes(live.app, "admin")) == []


async def test_who_is_not_let_in_yet_reaches_neither(live: Live, pending: Actor) -> None:
    assert await not_refused(pending.client, routes(live.app, "user", "admin")) == []


async def test_a_refusal_comes_before_the_body_is_looked_at(live: Live, client: httpx.AsyncClient) -> None:
    for door in routes(live.app, "user", "admin"):
        if door.kind in {"POST", "PUT", "PATCH"}:
            path = re.sub(r"\{[^}]*\}", "x", door.path)
            reply = await client.request(
                door.kind, path, content=b"{not json", headers={"content-type": "application/json"}
            )
            assert reply.status_code == 401, path


def test_the_page_on_authorization_is_current() -> None:
    written = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()
    assert written == policy_table(), f"Run: oui-backend policies --write {PAGE.name}"
