"""Two people, or two tabs of one, change the same thing at once: settings, folders, groups, models, accounts, passwords."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from open_webui.errors import OuiError
from open_webui.models import configs, folders, groups
from open_webui.schemas.auths import UpdatePassword, UpdateProfile
from open_webui.schemas.folders import FolderForm, FolderUpdateForm
from open_webui.schemas.users import GroupForm, UpdateUser
from open_webui.services import accounts as account_services
from open_webui.services import folders as folder_services
from open_webui.services import groups as group_services
from open_webui.services import models as model_services
from open_webui.services.folders import below
from tests.support.interleaving import both
from tests.support.live import PASSWORD, Actor, Live

# Where the first of two is stopped: before its statement of this number.
STOPS = range(7)
Work = Callable[[], Awaitable[Any]]


async def at_once(live: Live, first: Work, second: Work, stop_at: int) -> tuple[Any, Any]:
    """What both gave. Only what a person can be told may be raised: no deadlock, no broken rule of the database."""
    state = live.app.state.oui
    # Models that were stored are taken over by one after the other.
    taking_over = state.catalogue._stored_rows._turn
    results = await both(state.database, first, second, stop_at, waits=lambda: bool(taking_over._waiters))
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, OuiError):
            raise result
    return results


@pytest.mark.parametrize("stop_at", STOPS)
async def test_settings_of_two_tabs_are_both_kept(live: Live, user: Actor, stop_at: int) -> None:
    async def settings(name: str) -> None:
        reply = await user.client.post("/api/v1/users/user/settings/update", json={name: {"x": 1}})
        assert reply.status_code == 200, reply.text

    async def info(name: str) -> None:
        reply = await user.client.post("/api/v1/users/user/info/update", json={name: 1})
        assert reply.status_code == 200, reply.text

    await asyncio.gather(*(work(f"k{k}") for k in range(5) for work in (settings, info)))
    stored = (await user.client.get("/api/v1/users/user/settings?raw=true")).json()
    assert {f"k{k}" for k in range(5)} <= stored.keys()
    assert (await user.client.get("/api/v1/users/user/info")).json().keys() == {f"k{k}" for k in range(5)}
    state = live.app.state.oui
    principal = await state.identify(user.token)
    profile = UpdateProfile(name="New Name", profile_image_url="/user.png", bio="b")
    await at_once(
        live,
        lambda: account_services.update_profile(state, principal.id, profile),
        lambda: settings("late"),
        stop_at,
    )
    after = await account_services.get(state, principal.id)
    assert after.name == "New Name"
    assert "late" in (after.settings or {})


async def tree_of(live: Live, user: Actor) -> dict[str, str | None]:
    async with live.app.state.oui.database.read() as connection:
        return await folders.parents(connection, user.id)


@pytest.mark.parametrize("stop_at", STOPS)
async def test_two_moves_make_no_circle(live: Live, user: Actor, stop_at: int) -> None:
    """A below a folder inside B, and B below a folder inside A."""
    state = live.app.state.oui
    principal = await state.identify(user.token)

    async def make(name: str, parent: str | None = None) -> str:
        return (await folder_services.create(state, principal, FolderForm(name=name, parent_id=parent))).id

    a, b = await make("A"), await make("B")
    inside_a, inside_b = await make("a", a), await make("b", b)
    results = await at_once(
        live,
        lambda: folder_services.move(state, principal, a, inside_b),
        lambda: folder_services.move(state, principal, b, inside_a),
        stop_at,
    )
    assert sum(isinstance(r, OuiError) for r in results) == 1
    parents = await tree_of(live, user)
    roots = [i for i, parent in parents.items() if parent is None]
    assert len(roots) == 1
    assert set(below(parents, roots[0])) == {a, b, inside_a, inside_b}


@pytest.mark.parametrize("stop_at", STOPS)
async def test_a_name_is_given_to_one_folder(live: Live, user: Actor, stop_at: int) -> None:
    state = live.app.state.oui
    principal = await state.identify(user.token)
    other = await folder_services.create(state, principal, FolderForm(name="Other"))
    results = await at_once(
        live,
        lambda: folder_services.create(state, principal, FolderForm(name="Same")),
        lambda: folder_services.update(state, principal, other.id, FolderUpdateForm(name="same")),
        stop_at,
    )
    assert sum(isinstance(r, OuiError) for r in results) == 1


@pytest.mark.parametrize("stop_at", STOPS)
async def test_what_two_say_of_a_folder_is_both_kept(live: Live, user: Actor, stop_at: int) -> None:
    state = live.app.state.oui
    principal = await state.identify(user.token)
    folder = await folder_services.create(state, principal, FolderForm(name="F"))
    await at_once(
        live,
        lambda: folder_services.update(state, principal, folder.id, FolderUpdateForm(data={"a": 1})),
        lambda: folder_services.update(state, principal, folder.id, FolderUpdateForm(data={"b": 2})),
        stop_at,
    )
    assert (await folder_services.get(state, principal, folder.id))["data"] == {"a": 1, "b": 2}


@pytest.mark.parametrize("delete_contents", [False, True])
@pytest.mark.parametrize("stop_at", STOPS)
async def test_a_chat_is_moved_into_a_folder_that_goes(
    live: Live, user: Actor, stop_at: int, delete_contents: bool
) -> None:
    """The chat lies in the folder already, so that both want both rows."""
    state = live.app.state.oui
    principal = await state.identify(user.token)
    folder = await folder_services.create(state, principal, FolderForm(name="F"))
    body = {"chat": {"title": "t"}, "folder_id": folder.id}
    chat_id = (await user.client.post("/api/v1/chats/new", json=body)).json()["id"]

    async def move() -> None:
        reply = await user.client.post(f"/api/v1/chats/{chat_id}/folder", json={"folder_id": folder.id})
        assert reply.status_code in {200, 401, 404}, reply.text

    await at_once(
        live,
        lambda: folder_services.delete(state, principal, folder.id, delete_contents),
        move,
        stop_at,
    )
    found = await user.client.get(f"/api/v1/chats/{chat_id}")
    assert found.status_code == (401 if delete_contents else 200)
    if not delete_contents:
        assert found.json()["folder_id"] is None


@pytest.mark.parametrize("stop_at", STOPS)
@pytest.mark.parametrize("circle", [True, False])
async def test_groups_inherit_over_two_levels_at_most(live: Live, admin: Actor, stop_at: int, circle: bool) -> None:
    state = live.app.state.oui
    principal = await state.identify(admin.token)

    async def make(name: str) -> str:
        return (await group_services.create(state, principal, GroupForm(name=name, description=""))).id

    async def inherit(child: str, parent: str) -> Any:
        form = GroupForm(name=child, description="", parent_group_id=parent)
        return await group_services.update(state, child, form)

    one, two, three = sorted([await make("1"), await make("2"), await make("3")])
    # One from two, and two from three (or from one).
    results = await at_once(live, lambda: inherit(one, two), lambda: inherit(two, one if circle else three), stop_at)
    assert sum(isinstance(r, OuiError) for r in results) == 1
    async with state.database.read() as connection:
        parents = {g.id: g.parent_group_id for g in await groups.repository.all(connection)}
    assert all(parents[parent] is None for parent in parents.values() if parent is not None)


@pytest.mark.parametrize("stop_at", STOPS)
async def test_two_imports_of_the_same_models_are_both_done(live: Live, admin: Actor, stop_at: int) -> None:
    state = live.app.state.oui
    principal = await state.identify(admin.token)

    def exported(names: str, title: str) -> list[dict[str, Any]]:
        return [{"id": name, "base_model_id": "fixed", "name": title, "meta": {}, "params": {}} for name in names]

    await model_services.import_models(state, principal, exported("ab", "before"))
    await at_once(
        live,
        lambda: model_services.import_models(state, principal, exported("abcd", "first")),
        lambda: model_services.import_models(state, principal, exported("dcba", "second")),
        stop_at,
    )
    found = await model_services.exported(state, principal, None)
    assert len({model["name"] for model in found}) == 1
    assert {model["id"] for model in found} == set("abcd")


@pytest.mark.parametrize("stop_at", STOPS)
async def test_a_switch_that_is_turned_twice_is_where_it_was(live: Live, admin: Actor, stop_at: int) -> None:
    state = live.app.state.oui
    principal = await state.identify(admin.token)
    await model_services.import_models(
        state, principal, [{"id": "a", "base_model_id": "fixed", "name": "A", "meta": {}, "params": {}}]
    )
    await at_once(
        live,
        lambda: model_services.toggle(state, principal, "a"),
        lambda: model_services.toggle(state, principal, "a"),
        stop_at,
    )
    [model] = await model_services.exported(state, principal, None)
    assert model["is_active"] is True


@pytest.mark.parametrize("stop_at", STOPS)
async def test_settings_of_the_server_in_another_order(live: Live, stop_at: int) -> None:
    """Two save the same keys, each beginning at its own end."""
    state = live.app.state.oui

    async def save(values: dict[str, Any]) -> None:
        async with state.database.write() as unit:
            await configs.put(unit.connection, values)

    names = ["ui.enable_signup", "folders.enable", "ui.watermark", "webui.url"]
    values = {"ui.enable_signup": True, "folders.enable": True, "ui.watermark": "w", "webui.url": "u"}
    await at_once(
        live,
        lambda: save({name: values[name] for name in names}),
        lambda: save({name: values[name] for name in reversed(names)}),
        stop_at,
    )


async def test_a_setting_that_is_read_late_does_not_undo_a_newer_one(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = live.app.state.oui
    read = configs.get_all
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: Any) -> dict[str, Any]:
        stored = await read(connection)
        if not reading.is_set():
            reading.set()
            await go_on.wait()
        return stored

    monkeypatch.setattr(configs, "get_all", slow)
    first = asyncio.create_task(state.save_config({"ui.watermark": "first"}))
    await reading.wait()
    second = asyncio.create_task(state.save_config({"ui.watermark": "second"}))
    while (await _watermark(state, read)) != "second":  # noqa: ASYNC110 - the database tells nobody
        await asyncio.sleep(0.001)
    go_on.set()
    await asyncio.gather(first, second)
    assert state.config["ui.watermark"] == "second"


async def _watermark(state: Any, read: Any) -> Any:
    async with state.database.read() as connection:
        return (await read(connection)).get("ui.watermark")


@pytest.mark.parametrize("stop_at", STOPS)
async def test_two_admins_remove_each_other(live: Live, admin: Actor, user: Actor, other: Actor, stop_at: int) -> None:
    state = live.app.state.oui
    primary = await state.identify(admin.token)
    for actor in (user, other):
        await account_services.update(state, primary, actor.id, UpdateUser(role="admin"))
    one, two = await state.identify(user.token), await state.identify(other.token)
    for who in (one, two):
        await group_services.create(state, who, GroupForm(name=who.name, description=""))
    results = await at_once(
        live,
        lambda: account_services.delete(state, one, two.id),
        lambda: account_services.delete(state, two, one.id),
        stop_at,
    )
    # The one who is gone removes nobody any more.
    assert sum(isinstance(r, OuiError) for r in results) == 1
    left = one if results[0] is None else two
    async with state.database.read() as connection:
        owners = {g.user_id for g in await groups.repository.all(connection)}
    assert owners == {left.id}


@pytest.mark.parametrize("stop_at", STOPS)
async def test_a_password_that_an_admin_sets_is_not_undone(live: Live, admin: Actor, user: Actor, stop_at: int) -> None:
    """Somebody who knows the old password changes it while an administrator locks them out."""
    state = live.app.state.oui
    primary, asking = await state.identify(admin.token), state.tokens.verify(user.token)
    form = UpdatePassword(password=PASSWORD, new_password="the thief's own password")
    changed, _ = await at_once(
        live,
        lambda: account_services.change_password(state, user.id, form, asking),
        lambda: account_services.update(state, primary, user.id, UpdateUser(password="of the administrator")),
        stop_at,
    )
    async with live.client() as nobody:
        for password, status in ((PASSWORD, 400), ("the thief's own password", 400), ("of the administrator", 200)):
            reply = await nobody.post("/api/v1/auths/signin", json={"email": user.email, "password": password})
            assert reply.status_code == status, (password, changed)
