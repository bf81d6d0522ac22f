"""Automations over the API, as they are recorded; at their time, once; with whose rights; and after an end of the server."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx
import pytest
import sqlalchemy as sa

from open_webui.chat.endings import INTERRUPTED
from open_webui.jobs.kinds import Nothing
from open_webui.models import automations as stored
from open_webui.models import tables
from open_webui.services import automations as service
from open_webui.services import schedule
from open_webui.utils.recurring import LAST, SECOND
from tests.open_webui.evaluations.test_arena import open_models
from tests.open_webui.models.test_workspace import allow
from tests.open_webui.plugins.test_tools import count, say
from tests.support.live import Actor, Live
from tests.support.upstream import Upstream

AUTOMATIONS: Final = "/api/v1/automations"
BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
# Of the day, far from now: no time passes while a test looks at the next one.
HOUR: Final = (time.gmtime().tm_hour + 12) % 24
DAILY: Final = f"DTSTART:20200101T{HOUR:02}0000\nRRULE:FREQ=DAILY"
MINUTE: Final = 60 * SECOND
DAY: Final = 86_400 * SECOND


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """What SQL and jobs say runs on both; the rest is nothing of theirs."""
    return str(getattr(request, "param", "sqlite"))


def form(model: str = "echo", **more: Any) -> dict[str, Any]:
    data = {"prompt": "say hi", "model_id": model, "rrule": DAILY} | more.pop("data", {})
    return {"name": "Daily", "data": data} | more


async def create(actor: Actor, model: str = "echo", **more: Any) -> dict[str, Any]:
    status, made = await say(actor, "POST", f"{AUTOMATIONS}/create", form(model, **more))
    assert status == 200, made
    found: dict[str, Any] = made
    return found


async def until(look: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
    """What `look` gives, as soon as it gives something."""
    async with asyncio.timeout(seconds):
        while not (found := await look()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)
    return found


async def runs(actor: Actor, row: dict[str, Any], least: int = 1) -> list[dict[str, Any]]:
    """Its runs, as soon as there are so many."""

    async def look() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = (await say(actor, "GET", f"{AUTOMATIONS}/{row['id']}/runs"))[1]
        return found if len(found) >= least else None

    found: list[dict[str, Any]] = await until(look)
    return found


async def fall_due(live: Live, automation_id: str, ago: int = 0) -> None:
    """Has an automation's next time be now, or in the past."""
    state = live.app.state.oui
    async with state.database.write() as unit:
        row = await stored.repository.get(unit.connection, automation_id, lock=True)
        at = (await state.schedule.now(unit.connection)) - ago
        await state.schedule.wait_for(unit, row, at)
        await stored.repository.change(unit.connection, automation_id, {"next_run_at": at}, touch=False)


async def last_job(live: Live) -> list[Any]:
    async with live.app.state.oui.database.read() as connection:
        c = tables.job.c
        query = sa.select(c.kind, c.state, c.due_at).where(c.kind == "automation is due", c.state == "waiting")
        return list(await connection.execute(query))


@BOTH
async def test_as_recorded(live: Live, admin: Actor) -> None:
    assert await say(admin, "GET", f"{AUTOMATIONS}/list") == (200, {"items": [], "total": 0})
    made = await create(admin)
    assert list(made) == [
        "id", "user_id", "folder_id", "name", "data", "meta", "is_active", "last_run_at", "next_run_at", "created_at",
        "updated_at", "last_run", "next_runs",
    ]  # fmt: skip
    assert made["data"] == {"prompt": "say hi", "model_id": "echo", "rrule": DAILY, "terminal": None, "target": None}
    first = made["next_run_at"]
    assert made["next_runs"] == [first + day * DAY for day in range(5)]
    assert 0 < first - time.time_ns() <= DAY
    assert first % DAY == HOUR * 60 * MINUTE
    listed = (await say(admin, "GET", f"{AUTOMATIONS}/list?page=1"))[1]
    assert listed == {"items": [made | {"next_runs": None}], "total": 1}
    assert await say(admin, "GET", f"{AUTOMATIONS}/{made['id']}") == (200, made)
    # A rule without a beginning counts from the minute in which it was given.
    body = form(name="Daily 2", data={"rrule": "RRULE:FREQ=DAILY"})
    changed = (await say(admin, "POST", f"{AUTOMATIONS}/{made['id']}/update", body))[1]
    # It is stored a moment later, which may be in the next one.
    at = changed["updated_at"] // MINUTE * MINUTE
    assert changed["next_run_at"] - DAY in {at, at - MINUTE}
    assert len(await last_job(live)) == 1
    off = (await say(admin, "POST", f"{AUTOMATIONS}/{made['id']}/toggle"))[1]
    assert (off["is_active"], off["next_run_at"], off["next_runs"]) == (False, None, changed["next_runs"])
    assert await last_job(live) == []
    assert (await say(admin, "GET", f"{AUTOMATIONS}/list?status=active"))[1]["total"] == 0
    assert (await say(admin, "GET", f"{AUTOMATIONS}/list?status=paused&query=dail"))[1]["total"] == 1
    status, ran = await say(admin, "POST", f"{AUTOMATIONS}/{made['id']}/run")
    assert (status, ran["last_run"], ran["next_run_at"], ran["last_run_at"] > made["created_at"]) == (
        200,
        None,
        None,
        True,
    )
    (run,) = await runs(admin, made)
    assert list(run) == ["id", "automation_id", "chat_id", "status", "error", "created_at"]
    assert (run["automation_id"], run["status"], run["error"]) == (made["id"], "success", None)
    chat = (await say(admin, "GET", f"/api/v1/chats/{run['chat_id']}"))[1]
    said = [(m["role"], m["content"].strip()) for m in chat["chat"]["history"]["messages"].values()]
    assert (chat["title"], said) == ("Daily 2", [("user", "say hi"), ("assistant", "say hi")])
    assert (await say(admin, "GET", f"{AUTOMATIONS}/{made['id']}"))[1]["last_run"] == run
    assert (await say(admin, "GET", f"{AUTOMATIONS}/list"))[1]["items"][0]["last_run"] == run
    assert (await say(admin, "POST", f"{AUTOMATIONS}/{made['id']}/toggle"))[1]["is_active"] is True
    assert await say(admin, "DELETE", f"{AUTOMATIONS}/{made['id']}/delete") == (200, True)
    assert (await last_job(live), await count(live, tables.automation_run)) == ([], 0)
    assert (await say(admin, "GET", f"/api/v1/chats/{run['chat_id']}"))[0] == 200


@BOTH
async def test_a_time_comes_once_and_of_missed_ones_one(live: Live, admin: Actor, upstream: Upstream) -> None:
    made = await create(admin)
    # Ten days, in which no server ran.
    await fall_due(live, made["id"], 10 * DAY)
    (run,) = await runs(admin, made)
    assert run["status"] == "success"
    row = (await say(admin, "GET", f"{AUTOMATIONS}/{made['id']}"))[1]
    assert (row["next_run_at"], row["last_run"]) == (made["next_run_at"], run)
    assert len(await last_job(live)) == 1
    assert len([one for one in upstream.chats if one.body.get("stream")]) == 1
    await fall_due(live, made["id"])
    assert len(await runs(admin, made, 2)) == 2


@BOTH
async def test_a_job_of_a_time_that_is_none_any_more_does_nothing(live: Live, admin: Actor) -> None:
    made = await create(admin)
    state = live.app.state.oui
    async with state.database.write() as unit:
        due = schedule.Due(made["id"], time.time_ns() - 5 * SECOND)
        await state.jobs.enqueue(unit, state.schedule.waiting, due, key="other", run_at=time.time() - 5)

    async def gone() -> bool:
        async with state.database.read() as connection:
            return await connection.scalar(sa.select(tables.job.c.id).where(tables.job.c.key == "other")) is None

    await until(gone)
    assert await count(live, tables.automation_run) == 0
    assert (await say(admin, "GET", f"{AUTOMATIONS}/{made['id']}"))[1]["next_run_at"] == made["next_run_at"]


async def test_events_tell_of_it(live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    async def to_users(user_ids: Any, name: str, payload: dict[str, Any]) -> None:
        told.append((list(user_ids), name, payload))

    monkeypatch.setattr(live.app.state.oui.emitter, "to_users", to_users)
    made = await create(admin)
    await say(admin, "POST", f"{AUTOMATIONS}/{made['id']}/run")
    (run,) = await runs(admin, made)

    async def heard() -> Any:
        return [one for one in told if one[1] == "automation:result"]

    ((people, _, payload),) = await until(heard)
    assert (people, payload["chat_id"], payload["status"], payload["name"]) == (
        [admin.id],
        run["chat_id"],
        "success",
        "Daily",
    )


@BOTH
async def test_one_whose_job_was_cancelled_is_woken(live: Live, admin: Actor) -> None:
    made, off = await create(admin), await create(admin)
    await say(admin, "POST", f"{AUTOMATIONS}/{off['id']}/toggle")
    state = live.app.state.oui
    async with state.database.read() as connection:
        job_id = await connection.scalar(sa.select(tables.job.c.id).where(tables.job.c.kind == "automation is due"))
    await state.jobs.cancel(job_id)
    assert await last_job(live) == []
    for _ in range(2):
        await state.schedule.waking.handler(None, Nothing())
        ((_, _, due),) = await last_job(live)
        assert due == made["next_run_at"] // 1_000_000


async def test_a_rule_that_can_not_be_used_is_told(live: Live, admin: Actor) -> None:
    made = await create(admin)
    async with live.app.state.oui.database.write() as unit:
        data = made["data"] | {"rrule": "FREQ=DAILY;BYMONTH=13"}
        await stored.repository.change(unit.connection, made["id"], {"data": data})
    await fall_due(live, made["id"])
    assert sorted(run["status"] for run in await runs(admin, made, 2)) == ["error", "success"]
    assert "This rule can't be used" in str([run["error"] for run in await runs(admin, made)])
    row = (await say(admin, "GET", f"{AUTOMATIONS}/{made['id']}"))[1]
    assert (row["is_active"], row["next_run_at"]) == (False, None)


async def asked(live: Live) -> list[Any]:
    """The jobs that ask."""
    async with live.app.state.oui.database.read() as connection:
        return list(await connection.execute(sa.select(tables.job).where(tables.job.c.kind == "run automation")))


async def test_one_persons_runs_leave_room_for_others(
    live: Live, admin: Actor, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(schedule, "AGAIN_SECONDS", 1.0)
    made = [await create(admin, "gated") for _ in range(2)]
    await say(admin, "POST", f"{AUTOMATIONS}/{made[0]['id']}/run")
    await upstream.wait_for_async(lambda provider: len(provider.chats) == 1)
    await say(admin, "POST", f"{AUTOMATIONS}/{made[1]['id']}/run")

    async def put_off() -> bool:
        return any(job.due_at > job.created_at and job.attempts == 0 for job in await asked(live))

    await until(put_off)
    assert len(upstream.chats) == 1
    upstream.release(50)
    for row in made:
        assert [run["status"] for run in await runs(admin, row)] == ["success"]


async def test_the_wait_of_a_second_attempt_has_an_end(
    live: Live, admin: Actor, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await create(admin, "gated")
    await say(admin, "POST", f"{AUTOMATIONS}/{made['id']}/run")
    await upstream.wait_for_async(lambda provider: len(provider.chats) == 1)
    state = live.app.state.oui
    (payload,) = [job.payload for job in await asked(live)]
    monkeypatch.setattr(schedule, "ANSWER_SECONDS", 0.0)
    async with state.database.write() as unit:
        await state.jobs.enqueue(unit, state.schedule.asking, state.schedule.asking.read(payload), key="second")
    (run,) = await runs(admin, made)
    assert (run["status"], run["error"]) == ("error", schedule.TOO_LONG)
    upstream.release(50)


@BOTH
async def test_each_has_its_part_of_a_calendar(live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    often, seldom, never = [await create(admin, name=name) for name in ("often", "seldom", "never")]
    state = live.app.state.oui
    async with state.database.write() as unit:
        for n, row in enumerate([often, often, seldom, often, often, seldom]):
            await stored.begin(unit.connection, f"run{n}", row["id"], "success")
    principal = await state.identifier.account(admin.id)
    async with state.database.read() as connection:
        found = await stored.in_span(connection, principal, 0, LAST, 5)
    shown = [(due.automation.name, due.run and due.run.id) for due in found]
    assert shown == [("often", "run3"), ("often", "run4"), ("seldom", "run2"), ("seldom", "run5"), ("never", None)]
    monkeypatch.setattr(service, "SECONDS", -1.0)
    # Without time to find out when they are due, there are the runs.
    assert len(service.shown_events(found, principal, 0, LAST, 0)) == 4
    assert never["is_active"]


class TestRightsAreThoseOfTheTime:
    @pytest.fixture
    async def theirs(self, live: Live, admin: Actor, user: Actor) -> dict[str, Any]:
        await open_models(admin, "fixed")
        await allow(live, "features.automations")
        return await create(user, "fixed")

    async def test_as_it_is_allowed(self, live: Live, user: Actor, theirs: dict[str, Any]) -> None:
        await fall_due(live, theirs["id"])
        (run,) = await runs(user, theirs)
        assert (run["status"], run["error"]) == ("success", None)
        assert (await say(user, "GET", f"/api/v1/chats/{run['chat_id']}"))[1]["user_id"] == user.id

    async def failed(self, live: Live, row: dict[str, Any]) -> str:
        """The sentence of its only run, which asked nobody."""
        await fall_due(live, row["id"])

        async def look() -> Any:
            async with live.app.state.oui.database.read() as connection:
                return [one for one in await stored.runs_of(connection, row["id"], 0, 9) if one.status != "running"]

        (run,) = await until(look)
        assert (run.status, run.chat_id) == ("error", None)
        return str(run.error)

    async def test_an_account_that_may_not_act(
        self, live: Live, admin: Actor, user: Actor, theirs: dict[str, Any], upstream: Upstream
    ) -> None:
        person = {"role": "pending", "name": "User One", "email": user.email, "profile_image_url": ""}
        assert (await say(admin, "POST", f"/api/v1/users/{user.id}/update", person))[0] == 200
        assert await self.failed(live, theirs) == schedule.GONE
        assert upstream.chats == []

    async def test_a_permission_that_is_gone(self, live: Live, theirs: dict[str, Any]) -> None:
        state = live.app.state.oui
        tree = state.config["user.permissions"]
        await state.save_config({"user.permissions": tree | {"features": tree["features"] | {"automations": False}}})
        assert await self.failed(live, theirs) == schedule.NOT_ALLOWED

    async def test_automations_that_are_off(self, live: Live, theirs: dict[str, Any]) -> None:
        await live.app.state.oui.save_config({"automations.enable": False})
        assert await self.failed(live, theirs) == schedule.OFF

    async def test_a_model_that_is_gone(
        self, live: Live, admin: Actor, theirs: dict[str, Any], upstream: Upstream
    ) -> None:
        assert (await say(admin, "DELETE", "/api/v1/models/delete/all"))[0] == 200
        assert "odel" in await self.failed(live, theirs)
        assert upstream.chats == []


async def test_an_answer_that_fails_is_noted_with_its_chat(admin: Actor) -> None:
    made = await create(admin, "error400")
    await say(admin, "POST", f"{AUTOMATIONS}/{made['id']}/run")
    (run,) = await runs(admin, made)
    assert run["status"] == "error"
    assert len(run["error"]) > 5
    assert (await say(admin, "GET", f"/api/v1/chats/{run['chat_id']}"))[0] == 200


async def test_one_that_goes_on_is_not_begun_again(live: Live, admin: Actor, upstream: Upstream) -> None:
    made = await create(admin, "gated")
    await say(admin, "POST", f"{AUTOMATIONS}/{made['id']}/run")
    await upstream.wait_for_async(lambda provider: len(provider.chats) == 1)
    assert await say(admin, "POST", f"{AUTOMATIONS}/{made['id']}/run") == (409, {"detail": service.RUNNING})
    await fall_due(live, made["id"])
    (left,) = await runs(admin, made)
    assert (left["status"], left["error"]) == ("error", schedule.STILL)
    upstream.release(50)
    assert [run["status"] for run in await runs(admin, made, 2)] == ["error", "success"]


async def test_bad_forms(live: Live, admin: Actor, user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{AUTOMATIONS}/create"
    for data in (
        {"rrule": "nonsense"}, {"rrule": "RRULE:FREQ=SECONDLY"}, {"rrule": "DTSTART:20200101\nRRULE:FREQ=DAILY;COUNT=2"},
        {"rrule": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"}, {"target": {"type": "channel", "channel_id": "c"}},
    ):  # fmt: skip
        status, told = await say(admin, "POST", url, form(data=data))
        assert (status, told["detail"][-1]) == (400, "."), told
    for data in ({"prompt": ""}, {"prompt": "x" * 50_001}, {"model_id": ""}, {"rrule": ""}, {"rrule": "x" * 3_000},
                 {"terminal": {}}, {"target": {"type": "mail"}}):  # fmt: skip
        assert (await say(admin, "POST", url, form(data=data)))[0] == 422, data
    for bad in (
        {},
        {"name": "x"},
        form() | {"name": ""},
        form() | {"meta": {"a": "x" * 30_000}},
        form() | {"is_active": "x"},
    ):
        assert (await say(admin, "POST", url, bad))[0] == 422, bad
    assert (await say(admin, "POST", url, form(folder_id="nope")))[0] == 404
    assert await say(user, "POST", url, form()) == (403, {"detail": "401 Unauthorized"})
    await live.app.state.oui.save_config({"automations.min_interval": "3600", "automations.max_count": "1"})
    await allow(live, "features.automations")
    often = form(data={"rrule": "RRULE:FREQ=MINUTELY;INTERVAL=30"})
    assert await say(user, "POST", url, often) == (400, {"detail": service.TOO_OFTEN.format(3600)})
    await create(user, data={"rrule": "RRULE:FREQ=HOURLY"})
    assert await say(user, "POST", url, form()) == (400, {"detail": service.TOO_MANY.format(1)})
    await say(admin, "POST", url, often)
    monkeypatch.setattr(service, "MOST", 1)
    assert (await say(admin, "POST", url, form()))[0] == 400
    assert await count(live, tables.automation) == 2


async def test_another_persons_is_not_there(live: Live, admin: Actor, user: Actor) -> None:
    made = await create(admin)
    await allow(live, "features.automations")
    for method, rest, body in (("GET", "", None), ("POST", "/update", form()), ("POST", "/toggle", None), ("POST", "/run", None),
                               ("GET", "/runs", None), ("DELETE", "/delete", None)):  # fmt: skip
        assert (await say(user, method, f"{AUTOMATIONS}/{made['id']}{rest}", body))[0] == 404, rest
    async with live.client() as anonymous:
        assert (await anonymous.get(f"{AUTOMATIONS}/list")).status_code == 401
    assert (await say(admin, "GET", f"{AUTOMATIONS}/{made['id']}"))[1] == made


async def test_in_the_calendar(live: Live, admin: Actor, user: Actor) -> None:
    made = await create(admin, data={"rrule": f"{DAILY};INTERVAL=2"})
    *_, system = (await say(admin, "GET", "/api/v1/calendars/"))[1]
    assert (system["id"], system["name"], system["is_system"], system["color"]) == (
        service.CALENDAR_ID, "Scheduled Tasks", True, "#8b5cf6",
    )  # fmt: skip
    assert (await say(admin, "GET", f"/api/v1/calendars/{service.CALENDAR_ID}"))[1]["name"] == "Scheduled Tasks"
    await say(admin, "POST", f"{AUTOMATIONS}/{made['id']}/run")
    (run,) = await runs(admin, made)
    start, end = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + days * 86_400)) for days in (-2, 9))
    rows = (await say(admin, "GET", f"/api/v1/calendars/events?start={start}&end={end}"))[1]
    past, *coming = rows
    assert (past["meta"]["chat_id"], past["start_at"], past["title"]) == (run["chat_id"], run["created_at"], "Daily")
    assert [row["start_at"] for row in coming] == [
        made["next_run_at"] + days * DAY for days in range(0, len(coming) * 2, 2)
    ]
    assert len(coming) in {4, 5}
    assert all(
        row["meta"] == {"automation_id": made["id"]} and row["calendar_id"] == service.CALENDAR_ID for row in coming
    )
    other = f"/api/v1/calendars/events?start={start}&end={end}&calendar_ids=x"
    assert (await say(admin, "GET", other))[1] == []
    # Who may have none has no such calendar.
    assert [row["is_system"] for row in (await say(user, "GET", "/api/v1/calendars/"))[1]] == [False]
    assert (await say(user, "GET", f"/api/v1/calendars/{service.CALENDAR_ID}"))[0] == 404
    for method, rest in (("POST", "/update"), ("DELETE", "/delete"), ("POST", "/default")):
        assert (await say(admin, method, f"/api/v1/calendars/{service.CALENDAR_ID}{rest}", {}))[0] == 404


@BOTH
async def test_after_a_kill_it_is_noted_and_not_asked_again(
    make_server: Any, database_url: str, upstream: Upstream
) -> None:
    server = make_server(
        DATABASE_URL=database_url, OPENAI_API_BASE_URLS=upstream.openai_url, OPENAI_API_KEYS="sk-upstream"
    )
    server.start()
    person = {"name": "Admin One", "email": "admin.one@example.com", "password": "correct horse battery"}
    async with httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False) as http:
        token = (await http.post("/api/v1/auths/signup", json=person)).json()["token"]
        http.headers["Authorization"] = f"Bearer {token}"
        made = (await http.post(f"{AUTOMATIONS}/create", json=form("gated"))).json()
        await http.post(f"{AUTOMATIONS}/{made['id']}/run")
        await upstream.wait_for_async(lambda provider: len(provider.chats) == 1)
        server.kill()
        server.start()

        async def look() -> Any:
            return (await http.get(f"{AUTOMATIONS}/{made['id']}/runs")).json()

        (run,) = await until(look, 120)
        assert (run["status"], run["error"]) == ("error", INTERRUPTED)
        assert (await http.get(f"/api/v1/chats/{run['chat_id']}")).status_code == 200
    assert len(upstream.chats) == 1
