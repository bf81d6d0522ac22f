"""Jobs as administrators see them: listed, cancelled, retried."""

import time
from typing import Any

import msgspec
import pytest

from open_webui.jobs.kinds import GiveUp, Kind, Run
from open_webui.jobs.runner import MAX_RUNS
from tests.open_webui.llamaforge.conftest import until
from tests.support.live import Actor, Live

PATH = "/api/v1/jobs"


class Work(msgspec.Struct, frozen=True):
    name: str = "a secret"


async def fail(_run: Run, _work: Work) -> None:
    raise GiveUp("This can't be done.")


async def put(live: Live, **options: Any) -> str:
    queue = live.app.state.oui.jobs
    kind = Kind(name="test", payload=Work, handler=fail)
    queue.add(kind)
    async with queue.database.write() as unit:
        job_id: str = await queue.enqueue(unit, kind, Work(), **options)
    return job_id


async def test_what_there_is(live: Live, admin: Actor) -> None:
    job_id = await put(live, key="k", run_at=time.time() + 1000)
    found = (await admin.client.get(PATH)).json()
    kinds = {
        "test", "keep files", "remove leftovers", "tidy vectors", "make texts of notes that were left", "wake automations",
        "remind of events", "tend the audit record",
    }  # fmt: skip
    assert found["total"] == len(found["items"]) == len(kinds)
    assert {job["kind"] for job in found["items"]} == kinds
    assert "a secret" not in str(found)
    only = (await admin.client.get(PATH, params={"kind": "test", "state": "waiting"})).json()
    assert [(job["id"], job["key"]) for job in only["items"]] == [(job_id, "k")]
    assert only["items"][0] == (await admin.client.get(f"{PATH}/{job_id}")).json()
    assert abs(only["items"][0]["due_at"] - time.time() - 1000) < 60
    for params in ({"state": "failed"}, {"kind": "no\x00ne"}, {"page": "2"}):
        assert (await admin.client.get(PATH, params=params)).json()["items"] == []


async def test_they_are_the_administrators_alone(live: Live, admin: Actor, user: Actor) -> None:
    job_id = await put(live, run_at=time.time() + 1000)
    before = (await admin.client.get(f"{PATH}/{job_id}")).json()
    for method, path in (
        ("GET", ""),
        ("GET", f"/{job_id}"),
        ("POST", f"/{job_id}/cancel"),
        ("POST", f"/{job_id}/retry"),
    ):
        assert (await user.client.request(method, PATH + path)).status_code == 401
    assert (await admin.client.get(f"{PATH}/{job_id}")).json() == before


async def test_one_that_waits_is_cancelled_and_put_in_again(live: Live, admin: Actor) -> None:
    job_id = await put(live, run_at=time.time() + 1000)
    reply = await admin.client.post(f"{PATH}/{job_id}/cancel")
    assert (reply.status_code, reply.json()["state"]) == (200, "cancelled")
    assert (await admin.client.post(f"{PATH}/{job_id}/cancel")).status_code == 409
    assert (await admin.client.post(f"{PATH}/{job_id}/retry")).status_code == 200
    failed = await until(admin.client, f"{PATH}/{job_id}", lambda job: job["state"] == "failed")
    assert (failed["error"], failed["attempts"], failed["instance"]) == ("This can't be done.", 1, None)
    assert (await admin.client.post(f"{PATH}/{job_id}/retry")).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/cancel"), ("POST", "/retry")])
async def test_one_that_is_not_there(admin: Actor, method: str, path: str) -> None:
    for job_id in ("none", "x" * 200):
        reply = await admin.client.request(method, f"{PATH}/{job_id}{path}")
        assert reply.status_code == 404, reply.text
        assert "no such job" in reply.json()["detail"]


@pytest.mark.parametrize("params", [{"state": "nonsense"}, {"page": "0"}, {"kind": "x" * 300}])
async def test_what_has_the_wrong_form(admin: Actor, params: dict[str, str]) -> None:
    assert (await admin.client.get(PATH, params=params)).status_code == 422


# These wait for a model, or for whatever is at somebody's address.
WAITING = {"run automation", "answer in a channel", "tell an event", "send a notification", "download model",
           "background sub-agent"}  # fmt: skip


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_kinds_that_wait_leave_room_for_the_others(live: Live) -> None:
    kinds = live.app.state.oui.jobs.kinds
    assert kinds.keys() >= WAITING
    assert MAX_RUNS - sum(kinds[name].concurrency for name in WAITING) >= 12
