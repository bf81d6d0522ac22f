"""Databases of earlier releases: their pictures are moved to files once, also after an interruption, and nothing else changes."""

from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.chat.recovery import recover
from open_webui.models import embedded
from open_webui.models.base import metadata
from open_webui.services import files, moving
from open_webui.services.moving import move_pictures
from tests.support.live import Actor, Live
from tests.support.pictures import base64_in, chat, data_url, picture, png, question, shown_at, unused_references

TABLES = metadata.tables


async def write(live: Live, table: str, key: str, value: Any, **columns: Any) -> None:
    t = TABLES[table]
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(t.update().where(t.c[key] == value).values(columns))


async def forget(live: Live) -> None:
    """As if nothing had been moved yet."""
    async with live.app.state.oui.database.write() as unit:
        await unit.connection.execute(
            TABLES["singleton"].delete().where(TABLES["singleton"].c.name == "pictures_moved")
        )


async def dump(live: Live) -> dict[str, Any]:
    """Every row but those about files, the jobs that come by themselves, the time at which a process lived, and the audit
    record, which is linked beside it.
    """
    await live.app.state.oui.uses.flush()
    async with live.app.state.oui.database.read() as connection:
        return {
            name: [tuple(row) for row in await connection.execute(sa.select(t).order_by(*t.primary_key.columns))]
            for name, t in TABLES.items()
            if name not in {"file", "blob", "file_use", "job", "singleton", "process", "audit_pending", "audit_entry"}
        }


@pytest.fixture
async def old(live: Live, admin: Actor, user: Actor) -> dict[str, str]:
    """Rows as the release before wrote them, everywhere."""
    made = (
        await user.client.post(
            "/api/v1/chats/new", json={"chat": chat(question("x"), {"id": "a", "role": "assistant"})}
        )
    ).json()
    await user.client.post(f"/api/v1/chats/{made['id']}/share")
    model = {"id": "m", "base_model_id": "echo", "name": "M", "params": {}, "meta": {}, "access_grants": []}
    await admin.client.post("/api/v1/models/create", json=model)
    folder = (await user.client.post("/api/v1/folders/", json={"name": "F"})).json()
    await write(
        live, "chat_message", "id", "q", body={"files": [{"type": "image", "url": picture(1)}], "x": "data: no"}
    )
    await write(
        live, "chat_message", "id", "a", content=f'see ![]({picture(2)}) and "data:" \u00e9', body={"sources": []}
    )
    shared = chat(question(picture(1)), {"id": "a", "role": "assistant", "content": f"![]({picture(2)})"})
    await write(live, "shared_chat", "chat_id", made["id"], chat=shared)
    await write(live, "chat", "id", made["id"], body={"models": [], "cover": picture(3)}, variables={"v": picture(4)})
    await write(live, "user", "id", user.id, profile_image_url=picture(5), settings={"ui": {"b": picture(6)}})
    await write(live, "user", "id", admin.id, info={"b": data_url(b"%PDF-" + b"\xff" * 2000, "application/pdf")})
    await write(live, "model", "id", "m", meta={"profile_image_url": picture(7), "tags": []})
    await write(live, "folder", "id", folder["id"], meta={"background": picture(8)})
    await live.app.state.oui.catalogue.reload()
    assert len(await base64_in(live)) == 10
    return {"chat": made["id"], "folder": folder["id"]}


async def test_pictures_of_every_row_are_moved(live: Live, user: Actor, admin: Actor, old: dict[str, str]) -> None:
    state = live.app.state.oui
    assert await move_pictures(state, state.catalogue.reload, step=2) == 9
    assert await base64_in(live) == []
    assert await unused_references(live) == []
    shown = (await user.client.get(f"/api/v1/chats/{old['chat']}")).json()["chat"]["history"]["messages"]
    assert (await user.client.get(shown_at(shown["q"]["files"][0]))).content == png(1)
    assert shown["q"]["x"] == "data: no"
    assert shown["a"]["content"].endswith(') and "data:" \u00e9')
    assert (await admin.client.get(f"/api/v1/users/{user.id}/profile/image")).content == png(5)
    assert (await admin.client.get("/api/v1/models/model/profile/image", params={"id": "m"})).content == png(7)
    assert await files.collect(state, grace=-10) == 0
    before = await dump(live)
    assert await move_pictures(state) == 0
    assert await dump(live) == before


async def test_it_goes_on_where_it_was_interrupted(
    live: Live, old: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after each row in turn, as often as it takes."""
    state = live.app.state.oui
    real = moving._moved
    rows = 0

    class Killed(BaseException):
        pass

    async def once(*given: Any) -> bool:
        nonlocal rows
        done = await real(*given)
        rows += done
        if done:
            raise Killed
        return done

    monkeypatch.setattr(moving, "_moved", once)
    for _ in range(30):
        try:
            await move_pictures(state, step=1)
            break
        except Killed:
            continue
    assert rows == 9
    assert await base64_in(live) == []
    assert await unused_references(live) == []


async def test_a_row_that_somebody_changes_meanwhile_is_read_again(
    live: Live, old: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = live.app.state.oui
    real = embedded.read
    changed = False

    async def late(connection: Any, place: Any, key: Any) -> Any:
        nonlocal changed
        row = await real(connection, place, key)
        if place.thing == "folder_id" and not changed:
            changed = True
            await write(live, "folder", "id", key, meta={"background": picture(9), "mine": True})
        return row

    monkeypatch.setattr(embedded, "read", late)
    await move_pictures(state)
    async with state.database.read() as connection:
        meta = await connection.scalar(sa.select(TABLES["folder"].c.meta))
    assert meta["mine"] is True
    assert await base64_in(live) == []


@pytest.mark.parametrize(
    "text",
    [
        "data:image/png;base64," + "A" * 1501,
        "data:image/png;base64," + "A" * 1500 + "!",
        "data:text/plain," + "x" * 2000,
        "data: " + "x" * 2000,
        "data:",
        'data:image/png;base64,"' + "A" * 2000,
    ],
)
async def test_what_is_no_picture_stays(live: Live, user: Actor, text: str) -> None:
    await user.client.post("/api/v1/chats/new", json={"chat": chat({"id": "q", "role": "user"})})
    await write(live, "chat_message", "id", "q", content=text, body={"x": text})
    await forget(live)
    before = await dump(live)
    assert await move_pictures(live.app.state.oui) == 0
    assert await dump(live) == before


async def test_a_row_that_is_no_json_stays_and_stops_nothing(
    live: Live, user: Actor, old: dict[str, str], database_kind: str
) -> None:
    if database_kind == "sqlite":
        async with live.app.state.oui.database.write() as unit:
            broken = sa.text("UPDATE folder SET meta = :value")
            await unit.connection.execute(broken, {"value": '{"a": "' + picture(1) + '"'})
        assert await move_pictures(live.app.state.oui) == 8
    else:
        # PostgreSQL holds no such row; a number that Python can't hold is the nearest.
        async with live.app.state.oui.database.write() as unit:
            broken = sa.text("UPDATE folder SET meta = CAST(:value AS json)")
            await unit.connection.execute(broken, {"value": '{"n": 1e999, "a": "' + picture(1) + '"}'})
        assert await move_pictures(live.app.state.oui) in {8, 9}
    assert await base64_in(live) in ([], ["folder.meta"])


async def test_what_a_killed_process_had_written_is_moved_later(live: Live, user: Actor) -> None:
    """Its answer is put together from the journal, pictures and all."""
    state = live.app.state.oui
    made = await user.client.post(
        "/api/v1/chats/new", json={"chat": chat(question("x"), {"id": "a", "role": "assistant"})}
    )
    assert await move_pictures(state) == 0
    await write(live, "chat_message", "id", "a", content=f"see ![]({picture(2)})", done=False)
    async with state.database.write() as unit:
        row = {
            "task_id": "t",
            "chat_id": made.json()["id"],
            "message_id": "a",
            "user_id": user.id,
            "instance": "gone",
        }
        await unit.connection.execute(TABLES["generation"].insert().values(row))
    assert await recover(state.database, None) == 1
    assert await base64_in(live) != []
    assert await move_pictures(state) == 1
    assert await base64_in(live) == []
    assert await unused_references(live) == []
    assert await move_pictures(state) == 0


async def test_an_empty_database_is_noted_as_done(live: Live) -> None:
    state = live.app.state.oui
    assert await move_pictures(state) == 0
    async with state.database.read() as connection:
        assert await embedded.noted(connection) is None
