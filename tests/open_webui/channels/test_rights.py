"""What nobody gets in channels by a detour: membership, files, other people's groups; and how much one person may take."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from open_webui.chat import channel_answers
from open_webui.errors import NotFound
from open_webui.models import channels as stored
from open_webui.schemas.channels import MessageForm, RemoveMembersForm
from open_webui.services.channels import channels, members, mentions, messages
from open_webui.socket import channel_events
from tests.open_webui.channels.conftest import EVERYBODY, channel, group, ok, say, write
from tests.open_webui.channels.test_socket import heard, tell
from tests.open_webui.chat.page import open_page
from tests.open_webui.socket.test_frames import until
from tests.support.interleaving import both
from tests.support.live import Actor, Live, sign_up
from tests.support.pictures import ADDRESS, data_url, png

sqlite_only = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
Work = Callable[[Any, Any, str], Awaitable[Any]]


async def look(state: Any, principal: Any, where: str) -> None:
    await members.mark_read(state, principal, where)


async def mute(state: Any, principal: Any, where: str) -> None:
    await members.set_muted(state, principal, where, True)


async def post(state: Any, principal: Any, where: str) -> None:
    await messages.post(state, principal, where, MessageForm(content="late"))


@pytest.mark.parametrize("does", [look, mute, post])
async def test_who_is_put_out_does_not_come_back(live: Live, admin: Actor, user: Actor, does: Work) -> None:
    state = live.app.state.oui
    owner, principal = await state.identify(admin.token), await state.identify(user.token)

    async def race(stop_at: int, *, goes_first: bool) -> None:
        where = await group(admin, user)
        await write(admin, where)

        async def remove() -> int:
            return await members.remove(state, owner, where, RemoveMembersForm(user_ids=[user.id]))

        async def own() -> None:
            await does(state, principal, where)

        results = await both(state.database, *((remove, own) if goes_first else (own, remove)), stop_at)
        removed, done = results if goes_first else results[::-1]
        assert removed == 1
        assert done is None or isinstance(done, NotFound), done
        async with state.database.read() as connection:
            assert await stored.member_ids(connection, where) == [admin.id], (stop_at, goes_first)

    for stop_at in range(5):
        await race(stop_at, goes_first=True)
        await race(stop_at, goes_first=False)


async def a_file_of(actor: Actor) -> dict[str, Any]:
    """In a message that nobody else reads."""
    picture = {"type": "image", "url": data_url(png())}
    [file] = (await write(actor, await group(actor), "", data={"files": [picture]}))["data"]["files"]
    found: dict[str, Any] = file
    return found


async def sees(actor: Actor, file_id: str) -> bool:
    return (await actor.client.get(f"/api/v1/files/{file_id}/content")).status_code == 200


def id_in(value: Any) -> str:
    found = ADDRESS.search(str(value))
    assert found is not None, value
    return found[1]


@sqlite_only
async def test_a_manager_opens_nobody_elses_files(admin: Actor, user: Actor, other: Actor) -> None:
    file = await a_file_of(user)
    file_id = id_in(file["url"])
    where = await channel(admin)
    one = await write(user, where, data={"files": [], "a": 1})
    path = f"/{where}/messages/{one['id']}/update"
    changed = await ok(admin, "POST", path, {"content": f"see {file['url']}", "data": {"files": [file]}})
    assert changed["data"] == one["data"]
    assert [await sees(actor, file_id) for actor in (user, admin, other)] == [True, False, False]
    # The author may.
    await ok(user, "POST", path, {"content": "mine", "data": {"files": [file]}})
    assert await sees(other, file_id)
    # What is there stays there when somebody else changes the text.
    await ok(admin, "POST", path, {"content": "in order"})
    assert await sees(other, file_id)


@sqlite_only
async def test_an_edit_keeps_a_file_that_only_this_message_has_still(admin: Actor, user: Actor, other: Actor) -> None:
    where = await channel(admin)
    first = await write(user, where, "", data={"files": [{"type": "image", "url": data_url(png())}]})
    again = await write(other, where, "look", data=first["data"])
    await ok(user, "DELETE", f"/{where}/messages/{first['id']}/delete")
    file_id = id_in(first["data"])
    assert await sees(admin, file_id)
    await ok(other, "POST", f"/{where}/messages/{again['id']}/update", {"content": "look!"})
    assert await sees(admin, file_id)


@sqlite_only
async def test_pictures_in_the_text_are_files_of_the_message(admin: Actor, user: Actor, other: Actor) -> None:
    where = await channel(admin)
    one = await write(user, where, f"![a]({data_url(png(1))})", meta={"shown": data_url(png(2))})
    for place in ("content", "meta"):
        assert await sees(other, id_in(one[place])), place
    path = f"/{where}/messages/{one['id']}/update"
    changed = await ok(admin, "POST", path, {"content": f"![b]({data_url(png(3))})"})
    assert await sees(other, id_in(changed["content"]))
    assert not await sees(other, id_in(one["content"]))


@sqlite_only
async def test_typing_is_told_so_often_only(admin: Actor, user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_events, "BURST", 3)
    monkeypatch.setattr(channel_events, "A_SECOND", 0.0)
    one, two = await channel(admin), await channel(admin)
    async with open_page(admin.client, admin.token) as mine:
        async with open_page(user.client, user.token) as theirs:
            for where in (one, two, one, two):
                await tell(theirs, where, "typing", {"typing": True})
                await tell(theirs, where, "typing", {"typing": False})
            await write(user, one, "hello")
            await until(lambda: bool(heard(mine, "message")))
            assert [e["channel_id"] for e in heard(mine, "typing")] == [one, one, two]
        # Another socket is another one.
        async with open_page(user.client, user.token) as theirs:
            await tell(theirs, one, "typing", {"typing": False})
            await until(lambda: len(heard(mine, "typing")) == 4)


def test_what_a_gone_socket_typed_is_forgotten() -> None:
    events = channel_events.ChannelEvents(lambda: None)  # type: ignore[arg-type,return-value]  # it is not asked
    assert events._typing_is_news("s", "c")
    assert events._may_tell("s")
    events.forget("s")
    assert (events._typed_at, events._rates) == ({}, {})


async def test_channels_of_one_person(admin: Actor, user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MOST_OWN", 2)
    where = await group(user)
    talk = {"type": "dm", "user_ids": [admin.id]}
    known = await ok(user, "POST", "/create", talk)
    form = {"name": "third", "type": "group"}
    assert await say(user, "POST", "/create", form) == (400, {"detail": channels.FULL.format(2)})
    # What is there already is no new one, and what others made is theirs.
    assert (await ok(user, "POST", "/create", talk))["id"] == known["id"]
    await group(admin, user)
    await ok(user, "DELETE", f"/{where}/delete")
    await ok(user, "POST", "/create", form)


async def test_many_people_in_a_few_statements(
    live: Live, admin: Actor, user: Actor, other: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "ROWS_AT_ONCE", 2)
    third = await sign_up(live, "Third", role="user", admin=admin)
    where = await group(admin, user)
    wanted = [admin.id, user.id, other.id, third.id]
    added = await ok(admin, "POST", f"/{where}/update/members/add", {"user_ids": wanted})
    assert {one["user_id"] for one in added} == {other.id, third.id}
    assert set((await ok(third, "GET", f"/{where}"))["user_ids"]) == set(wanted)
    await third.client.aclose()


@sqlite_only
async def test_a_list_has_the_newest(admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MOST_LISTED", 2)
    made = [await channel(admin, EVERYBODY, name=name) for name in ("a", "b", "c")]
    assert [one["id"] for one in await ok(admin, "GET", "/")] == made[1:]
    assert [one["id"] for one in await ok(admin, "GET", "/list")] == made[1:]


@sqlite_only
async def test_who_is_in_other_groups_shows_nowhere(admin: Actor, user: Actor, other: Actor) -> None:
    made = {}
    for name, share in (("closed", False), ("theirs", "members"), ("open", True)):
        form = {"name": name, "description": "", "data": {"config": {"share": share}}}
        made[name] = (await admin.client.post("/api/v1/groups/create", json=form)).json()["id"]
        body = {"user_ids": [other.id]}
        assert (await admin.client.post(f"/api/v1/groups/id/{made[name]}/users/add", json=body)).status_code == 200

    async def people(asker: Actor, name: str) -> set[str]:
        form = {"name": "g", "type": "group", "group_ids": [made[name]]}
        where = (await ok(asker, "POST", "/create", form))["id"]
        added = await ok(asker, "POST", f"/{where}/update/members/add", {"user_ids": [], "group_ids": [made[name]]})
        # All whom the group gave were in it from the beginning.
        assert added == []
        return set((await ok(asker, "GET", f"/{where}"))["user_ids"])

    both_of = {user.id, other.id}
    assert [await people(user, name) for name in made] == [{user.id}, {user.id}, both_of]
    assert await people(admin, "closed") == {admin.id, other.id}
    await admin.client.post(f"/api/v1/groups/id/{made['theirs']}/users/add", json={"user_ids": [user.id]})
    assert [await people(user, name) for name in made] == [{user.id}, both_of, both_of]


def test_a_long_answer_is_told_less_often() -> None:
    assert channel_answers.seconds_after(0) == channel_answers.UPDATE_SECONDS
    assert channel_answers.seconds_after(100_000) == channel_answers.UPDATE_SECONDS + 10
    assert mentions.MOST_MODELS <= mentions.MOST_WAITING < channel_answers.AT_ONCE
