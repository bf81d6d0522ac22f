"""Versions of models: each change is one, and one that was comes back with all that it named."""

from typing import Any

import sqlalchemy as sa

from open_webui.models import tables
from tests.open_webui.models.test_workspace import allow, create, form, open_base
from tests.support.live import Actor, Live
from tests.support.pictures import data_url, png

MODEL = "/api/v1/models/model"


async def say(actor: Actor, method: str, rest: str, body: Any = None) -> tuple[int, Any]:
    reply = await actor.client.request(method, f"{MODEL}{rest}", **({} if body is None else {"json": body}))
    return reply.status_code, reply.json()


async def history(actor: Actor, model_id: str = "my-model") -> list[dict[str, Any]]:
    status, found = await say(actor, "GET", f"/history?id={model_id}")
    assert status == 200
    listed: list[dict[str, Any]] = found
    return listed


async def test_a_version_comes_back(live: Live, admin: Actor) -> None:
    made = await create(admin, commit_message="begun")
    changed = (await say(admin, "POST", "/update", form(name="Second", params={"seed": 1}, commit_message="two")))[1]
    newest, oldest = await history(admin)
    assert (newest["id"], newest["parent_id"], newest["commit_message"]) == (
        changed["version_id"],
        made["version_id"],
        "two",
    )
    assert (oldest["id"], oldest["commit_message"], oldest["user"]) == (
        made["version_id"],
        "begun",
        {"name": "Admin One"},
    )
    whole = (await say(admin, "GET", f"/history/{oldest['id']}?id=my-model"))[1]
    assert whole["snapshot"] == {n: made[n] for n in ("name", "base_model_id", "params", "meta")}
    status, back = await say(admin, "POST", "/update/version?id=my-model", {"version_id": oldest["id"]})
    assert (status, back["name"], back["params"], back["version_id"]) == (200, "My model", made["params"], oldest["id"])
    assert live.app.state.oui.catalogue.find("my-model").system == "Be kind"
    assert (await say(admin, "DELETE", f"/history/{oldest['id']}?id=my-model"))[0] == 400
    assert await say(admin, "DELETE", f"/history/{newest['id']}?id=my-model") == (200, True)
    assert [one["id"] for one in await history(admin)] == [oldest["id"]]


async def test_switching_it_off_is_no_version(admin: Actor) -> None:
    await create(admin)
    await say(admin, "POST", "/toggle?id=my-model")
    same = (await say(admin, "POST", "/update", form(is_active=True)))[1]
    assert same["is_active"] is True
    assert len(await history(admin)) == 1


async def test_what_was_before_there_were_versions_is_kept(live: Live, admin: Actor) -> None:
    made = await create(admin)
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(tables.version.delete())
    await say(admin, "POST", "/update", form(name="Second"))
    newest, oldest = await history(admin)
    assert (oldest["id"], newest["parent_id"], oldest["user"]) == (made["version_id"], made["version_id"], None)
    assert (await say(admin, "GET", f"/history/{oldest['id']}?id=my-model"))[1]["snapshot"]["name"] == "My model"


async def test_prompts_are_for_those_who_may_change_it(live: Live, admin: Actor, user: Actor) -> None:
    await open_base(admin)
    grant = {"principal_type": "user", "principal_id": user.id, "permission": "read"}
    made = await create(admin, access_grants=[grant])
    assert "snapshot" not in str(await history(user))
    for method, rest, body in (
        ("GET", f"/history/{made['version_id']}?id=my-model", None),
        ("DELETE", f"/history/{made['version_id']}?id=my-model", None),
        ("POST", "/update/version?id=my-model", {"version_id": made["version_id"]}),
    ):
        status, said = await say(user, method, rest, body)
        assert (status, "Be kind" in str(said)) == (401, False), rest


async def test_a_base_that_one_may_not_use_does_not_come_back(live: Live, admin: Actor, user: Actor) -> None:
    """Naming a model is using it: also where an earlier version names it."""
    await allow(live, "workspace.models")
    await open_base(admin)
    grant = {"principal_type": "user", "principal_id": user.id, "permission": "write"}
    made = await create(admin, base_model_id="fixed", access_grants=[grant])
    assert (await say(user, "POST", "/update", form(base_model_id="echo", access_grants=[grant])))[0] == 200
    status, _ = await say(user, "POST", "/update/version?id=my-model", {"version_id": made["version_id"]})
    assert status == 400
    assert (await say(admin, "GET", "?id=my-model"))[1]["base_model_id"] == "echo"


async def test_pictures_of_earlier_versions_stay(live: Live, admin: Actor) -> None:
    made = await create(admin, meta={"profile_image_url": data_url(png())})
    picture = made["meta"]["profile_image_url"]
    await say(admin, "POST", "/update", form(meta={}))
    async with live.app.state.oui.database.read() as connection:
        uses = await connection.scalar(sa.select(sa.func.count()).select_from(tables.file_use))
    assert uses == 1
    back = (await say(admin, "POST", "/update/version?id=my-model", {"version_id": made["version_id"]}))[1]
    assert back["meta"]["profile_image_url"] == picture
    shown = await admin.client.get(f"{MODEL}/profile/image?id=my-model")
    assert shown.content == png()
