"""R16 over every door: another site's page writes nothing with a visitor's cookie, and reading changes nothing."""

import re
from collections.abc import AsyncIterator

import pytest

from open_webui.printing import Declared, declared
from open_webui.routing import TOKEN_COOKIE
from tests.security import matrix
from tests.security.matrix import World, changed, rows_of
from tests.security.matrix_doors import DOORS
from tests.support.live import Actor, Live
from tests.support.upstream import Upstream

READS = {"GET", "HEAD"}


@pytest.fixture
def database_kind() -> str:
    """Nothing here depends on it."""
    return "sqlite"


@pytest.fixture
async def world(live: Live, upstream: Upstream) -> AsyncIterator[World]:
    made = await matrix.make_world(live, upstream)
    yield made
    await matrix.close(made)


def address(world: World, door: Declared) -> str:
    case = next(iter(DOORS.get(f"{door.kind} {door.path}", [])), matrix.Case())
    return world.address(door, case)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_no_write_with_a_cookie_from_another_site(world: World, headers: dict[str, str]) -> None:
    # A directory's routes take no cookie from anybody.
    doors = [
        d for d in declared(world.live.app)
        if d.kind not in READS | {"event", "socket"} and d.policy is not None and d.policy.level not in {"public", "scim"}
    ]  # fmt: skip
    before, let_in = await rows_of(world.live), []
    for actor in (world.admin, world.owner):
        async with world.live.client(cookies={TOKEN_COOKIE: actor.token}) as browser:
            browser.headers.update(headers)
            for door in doors:
                body = next(iter(DOORS.get(f"{door.kind} {door.path}", [])), matrix.Case()).body
                reply = await browser.request(door.kind, address(world, door), json=world.fill(body or {}))
                if reply.status_code != 403:
                    let_in.append(f"{door.kind} {door.path}: {reply.status_code}")
    assert let_in == []
    assert len(doors) > 90
    assert changed(before, await rows_of(world.live)) == []


# As recorded: one's first calendar, the chat beside a note and the conversation with somebody are made when they are asked for.
MADE_WHEN_ASKED = {"/api/v1/calendars/", "/api/v1/notes/{id}/chat", "/api/v1/channels/users/{user_id}"}


async def test_nothing_is_changed_by_reading(world: World) -> None:
    """Every GET and HEAD, as its owner and as an admin, with all that they take."""
    doors = [d for d in declared(world.live.app) if d.kind in READS]

    async def read(actor: Actor, door: Declared) -> None:
        for case in DOORS.get(f"{door.kind} {door.path}") or [matrix.Case()]:
            await actor.client.request(door.kind, world.address(door, case), params=world.fill(case.query))

    for actor in (world.owner, world.admin):
        for door in doors:
            if door.path in MADE_WHEN_ASKED:
                await read(actor, door)
    before = await rows_of(world.live)
    for actor in (world.owner, world.admin):
        for door in doors:
            await read(actor, door)
            assert changed(before, await rows_of(world.live)) == [], door
    assert len(doors) > 100


async def test_a_door_says_which_method_it_wants(world: World) -> None:
    """A write is not made by a GET to its address: what is written by one method only is read by none."""
    before = await rows_of(world.live)
    writes = {d.path for d in declared(world.live.app) if d.kind not in READS | {"event", "socket"}}
    for path in sorted(writes):
        plain = re.sub(r"\{([^}]*)\}", lambda found: world.fill(matrix.parameter("", found[1].partition(":")[0])), path)
        for method in READS:
            await world.owner.client.request(method, plain)
    assert changed(before, await rows_of(world.live)) == []
