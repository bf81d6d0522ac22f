"""R2, R3, R14: who may do what with models, through every door; and that no secret of theirs reaches who may not write."""

from typing import Any

import pytest

from open_webui.printing import declared
from tests.support.live import Actor, Live
from tests.support.upstream import Upstream

CANARY = "canary-7f3a"


def row(model_id: str, *grants: tuple[str, str], **changes: Any) -> dict[str, Any]:
    given = [{"principal_type": "user", "principal_id": who, "permission": action} for who, action in grants]
    body = {"id": model_id, "base_model_id": "echo", "name": model_id, "meta": {}, "params": {}, "access_grants": given}
    return body | changes


# What each door answers to: the owner, one who may write, one who may read, one who may nothing.
MATRIX: dict[tuple[str, str], tuple[int, int, int, int]] = {
    ("GET", "/api/v1/models/model?id=victim"): (200, 200, 200, 401),
    ("GET", "/api/v1/models/model/history?id=victim"): (200, 200, 200, 401),
    ("POST", "/api/v1/models/model/toggle?id=victim"): (200, 200, 401, 401),
    ("POST", "/api/v1/models/model/update"): (200, 200, 401, 401),
    ("POST", "/api/v1/models/model/access/update"): (200, 200, 401, 401),
    ("POST", "/api/v1/models/import"): (200, 200, 401, 401),
    ("POST", "/api/chat/completions"): (200, 200, 200, 400),
    ("POST", "/openai/chat/completions"): (200, 200, 200, 404),
    ("POST", "/ollama/v1/chat/completions"): (200, 200, 200, 400),
    ("POST", "/ollama/api/chat"): (200, 200, 200, 400),
    ("POST", "/api/embeddings"): (200, 200, 200, 400),
    ("POST", "/api/v1/tasks/title/completions"): (200, 200, 200, 404),
    ("POST", "/api/v1/models/model/delete"): (200, 200, 401, 401),
}


def body_of(path: str) -> dict[str, Any]:
    if path.endswith("/import"):
        return {"models": [row("victim")]}
    if "update" in path:
        return (
            row("victim", access_grants=None)
            if path.endswith("model/update")
            else {"id": "victim", "access_grants": []}
        )
    messages = [{"role": "user", "content": "hi"}]
    body = {"id": "victim", "model": "victim", "messages": messages, "stream": False, "input": "x", "prompt": "hi"}
    if path.endswith("/chat/completions"):
        # Chats have messages and no prompt.
        del body["prompt"]
    return body


@pytest.mark.parametrize("who", ["owner", "writer", "reader", "nobody"])
async def test_the_matrix(live: Live, admin: Actor, user: Actor, other: Actor, who: str) -> None:
    state = live.app.state.oui
    tree = state.config["user.permissions"]
    await state.save_config({"user.permissions": tree | {"workspace": dict.fromkeys(tree["workspace"], True)}})
    base = row("echo", ("*", "read"), base_model_id=None)
    assert (await admin.client.post("/api/v1/models/create", json=base)).status_code == 200
    actor = user if who == "owner" else other
    assert (await user.client.post("/api/v1/models/create", json=row("victim"))).status_code == 200
    grants = {"writer": [(other.id, "write")], "reader": [(other.id, "read")]}.get(who, [])
    column = ["owner", "writer", "reader", "nobody"].index(who)
    seen = {}
    for (method, path), expected in MATRIX.items():
        # As it was before the last door changed something.
        again = await admin.client.post("/api/v1/models/model/update", json=row("victim", *grants))
        assert again.status_code == 200, again.text
        listed = (await actor.client.get("/api/v1/models/list")).json()["items"]
        assert [m["id"] for m in listed] == ([] if who == "nobody" else ["victim"])
        content = None if method == "GET" or "toggle" in path else body_of(path)
        reply = await actor.client.request(method, path, json=content)
        seen[method, path] = (reply.status_code, expected[column])
    assert {door: got for door, got in seen.items() if got[0] != got[1]} == {}


async def test_a_revoked_grant_counts_at_once(admin: Actor, user: Actor) -> None:
    await admin.client.post("/api/v1/models/create", json=row("echo", (user.id, "read"), base_model_id=None))
    body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
    assert (await user.client.post("/api/chat/completions", json=body)).status_code == 200
    revoke = {"id": "echo", "access_grants": []}
    await admin.client.post("/api/v1/models/model/access/update", json=revoke)
    assert (await user.client.post("/api/chat/completions", json=body)).status_code == 400
    assert (await user.client.get("/api/models")).json() == {"data": []}


async def test_everybody_may_use_all_when_access_control_is_off(make_live: Any, connections: None) -> None:
    from tests.support import live as people

    live = await make_live(bypass_model_access_control=True)
    admin = await people.sign_up(live, "Admin One")
    user = await people.sign_up(live, "User One", role="user", admin=admin)
    try:
        assert "echo" in [m["id"] for m in (await user.client.get("/api/models")).json()["data"]]
    finally:
        await admin.client.aclose()
        await user.client.aclose()


async def test_no_secret_reaches_who_may_not_write_it(
    live: Live, admin: Actor, user: Actor, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crawl as a plain user over every GET, with canaries in keys, headers, prompts and parameters."""
    state = live.app.state.oui
    await state.save_config(
        {
            "ollama.base_urls": [f"http://me:{CANARY}@127.0.0.1:{upstream.port}"],
            "ollama.api_configs": {"0": {"key": CANARY, "headers": {"x": CANARY}}},
            "openai.api_configs": {"0": {"headers": {"x-secret": CANARY}}},
            "models.default_params": {"system": CANARY},
            "task.title.prompt_template": CANARY,
            "task.model.params": {"key": CANARY},
        }
    )
    secret = {"params": {"system": CANARY, "custom_params": {"k": CANARY}}}
    everybody = ("*", "read")
    for made in (row("echo", everybody, base_model_id=None, **secret), row("custom", everybody, **secret)):
        assert (await admin.client.post("/api/v1/models/create", json=made)).status_code == 200
    assert CANARY in (await admin.client.get("/api/v1/models/model?id=custom")).text
    asked = 0
    for door in declared(live.app):
        if door.kind != "GET" or "{path" in door.path:
            continue
        for value in ("0", "custom", "echo"):
            path = door.path
            for name in [part[1:-1] for part in path.split("/") if part.startswith("{")]:
                path = path.replace("{" + name + "}", value)
            reply = await user.client.get(path, params={"id": value, "ids": value})
            assert CANARY not in reply.text, path
            asked += 1
            if "{" not in door.path:
                break
    assert asked > 50
    assert "custom" in (await user.client.get("/api/models")).text
