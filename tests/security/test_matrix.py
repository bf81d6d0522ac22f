"""R2 and R4: for every door whose policy names a resource, who gets at a victim's thing through it, and who does not."""

import re
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from open_webui.env import Settings
from open_webui.main import create_app
from open_webui.printing import Declared, declared
from tests.open_webui.chat.page import open_page
from tests.security import matrix
from tests.security.matrix import MARK, REFUSALS, Case, Role, Rows, World, changed, rows_of, with_resource
from tests.security.matrix_doors import DOORS, EVENTS, WITHOUT_RESOURCE
from tests.support.live import Live
from tests.support.upstream import Upstream

# Parts of an address that name nobody's thing.
PLAIN = {"url_idx", "kind", "path", "namespace", "job_id", "provider", "history_id", "message_id"}


@pytest.fixture
async def world(live: Live, upstream: Upstream) -> AsyncIterator[World]:
    made = await matrix.make_world(live, upstream)
    yield made
    await matrix.close(made)


def doors_of(app: FastAPI) -> list[tuple[Declared, Case]]:
    """All calls: those that only read, then those that add, then those that take something away."""
    calls = [
        (door, case)
        for door, _ in with_resource(declared(app))
        if door.kind != "event"
        for case in DOORS[f"{door.kind} {door.path}"]
    ]
    return sorted(calls, key=lambda call: (call[1].turn, call[0].kind != "GET"))


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
class TestTheTable:
    """A resource that comes later must join."""

    @pytest.fixture
    def app(self, settings: Settings) -> FastAPI:
        return create_app(settings)

    def test_has_every_door_that_names_a_resource(self, app: FastAPI) -> None:
        found = {f"{d.kind} {d.path}" for d, _ in with_resource(declared(app)) if d.kind != "event"}
        assert found - DOORS.keys() == set(), "Add how a victim's ids get into these doors to matrix_doors.py."
        assert DOORS.keys() - found == set(), "These doors are gone, or their policies name no resource any more."
        assert [name for name, cases in DOORS.items() if not cases] == []

    def test_has_every_event_that_names_a_resource(self, app: FastAPI) -> None:
        assert {d.path for d, _ in with_resource(declared(app)) if d.kind == "event"} == EVENTS.keys()

    def test_makes_every_resource(self, app: FastAPI) -> None:
        named = {policy.resource for _, policy in with_resource(declared(app))}
        assert named - {resource for resources in matrix.MAKERS for resource in resources} == set()

    def test_knows_every_door_with_an_id_in_its_address(self, app: FastAPI) -> None:
        unknown = set()
        for door in declared(app):
            names = {name.partition(":")[0] for name in re.findall(r"\{([^}]*)\}", door.path)}
            if names - PLAIN and (door.policy is None or door.policy.resource is None):
                unknown.add(f"{door.kind} {door.path}")
        assert unknown == WITHOUT_RESOURCE.keys(), "Name the resource of these doors' policies, or why there is none."


def told(wrong: dict[str, list[str]]) -> str:
    return "\n".join(f"{name}\n    " + "\n    ".join(line[:500] for line in found) for name, found in wrong.items())


async def judge(
    world: World, role: Role, door: Declared, case: Case, before: Rows | None
) -> tuple[list[str], Rows | None]:
    """What is wrong with the answer of a door to somebody, and the rows afterwards where they were looked at."""
    assert door.policy is not None
    expected = case.expected(role, door.policy)
    looks = role not in {"owner", "admin", "writer"} or expected == "no"
    if before is None and looks:
        before = await rows_of(world.live)
    reply = await world.call(door, case, role)
    await world.settle()
    wrong = []
    if (expected == "no") != (reply.status_code in REFUSALS) or (
        expected != "no" and reply.status_code not in {200, 302}
    ):
        wrong.append(f"answered {reply.status_code}, expected {expected}: {reply.text[:200]}")
    if expected != "ok" and role not in {"owner", "writer"} and MARK in reply.text:
        wrong.append(f"says what is the victim's: {reply.text[:300]}")
    if before is None or not looks:
        return wrong, None
    after = await rows_of(world.live)
    wrong += changed(before, after, None if expected == "no" else world.actor(role).id)
    return wrong, after


async def play(world: World, role: Role) -> dict[str, list[str]]:
    """Knocks at every door as somebody. What was taken away is made anew."""
    wrong: dict[str, list[str]] = {}
    before: Rows | None = None
    for door, case in doors_of(world.live.app):
        if case.turn == 1 and role in {"owner", "admin", "writer"} and door.policy is not None:
            await world.furnish(door.policy.resource)
            before = None
        found, before = await judge(world, role, door, case, before)
        if found:
            wrong[f"{door.kind} {world.address(door, case)} {case.body or ''}"] = found
    return wrong


@pytest.mark.parametrize("role", ["stranger", "reader", "pending"])
async def test_who_has_no_right_gets_nothing_and_changes_nothing(world: World, role: Role) -> None:
    wrong = await play(world, role)
    assert not wrong, told(wrong)


@pytest.mark.parametrize("role", ["owner", "admin", "writer"])
async def test_who_has_the_right_gets_on(world: World, role: Role) -> None:
    """And an admin is refused what the settings do not let admins do."""
    wrong = await play(world, role)
    assert not wrong, told(wrong)


async def test_an_admin_sees_no_chats_where_the_settings_say_so(world: World) -> None:
    state = world.live.app.state.oui
    state.settings = state.settings.model_copy(update={"enable_admin_chat_access": False})
    wrong = {}
    before = await rows_of(world.live)
    for door, case in doors_of(world.live.app):
        assert door.policy is not None
        if door.policy.resource != "chat" or case.turn or case.expected("admin", door.policy) != "ok":
            continue
        reply = await world.call(door, case, "admin")
        if MARK in reply.text or (reply.status_code not in REFUSALS and door.path != "/api/tasks/chat/{chat_id:path}"):
            wrong[f"{door.kind} {door.path}"] = reply.text[:200]
    assert wrong == {}
    assert changed(before, await rows_of(world.live)) == []


async def test_socket_events(world: World) -> None:
    roles: tuple[Role, ...] = ("owner", "reader", "stranger", "admin")
    for place, role in enumerate(roles):
        actor = world.actor(role)
        async with open_page(actor.client, actor.token) as page:
            before = await rows_of(world.live)
            for name, cases in EVENTS.items():
                for body, expected in cases:
                    answer = await page.socket.call(name, world.fill(body), timeout=30)
                    assert answer == expected[place], (role, name, body)
            if role != "owner":
                assert changed(before, await rows_of(world.live), actor.id) == [], role
                assert MARK not in str(page.events), role
            if role in {"stranger", "admin"}:
                assert MARK not in str(page.others), role
