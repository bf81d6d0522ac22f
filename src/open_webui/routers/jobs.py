"""Work in the background, for administrators: which jobs there are and how they are, cancelling and retrying."""

from typing import Annotated, Any

from fastapi import Path, Query

from open_webui.access.policy import ADMIN
from open_webui.constants import MAX_ID
from open_webui.deps import AppState, Page
from open_webui.models import jobs
from open_webui.models.jobs import Job
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Shape

router = new_router(prefix="/api/v1/jobs", tag="jobs")
Id = Annotated[str, Path(min_length=1, max_length=MAX_ID)]
Kind = Annotated[str | None, Query(max_length=MAX_ID)]
PAGE_SIZE = 50


def _wire(job: Job) -> dict[str, Any]:
    """What is told of a job. Its payload is not: it may hold what is somebody's own."""
    shown = ("id", "kind", "key", "state", "progress", "note", "error", "attempts", "allowed", "priority", "instance")
    times = ("due_at", "created_at", "started_at", "finished_at")
    seconds = {name: None if (at := getattr(job, name)) is None else at // 1000 for name in times}
    return {name: getattr(job, name) for name in shown} | {"is_cancelled": job.is_cancelled} | seconds


@router.get("")
@allow(ADMIN.on("job", "list"))
async def listed(
    state: AppState,
    of_state: Annotated[jobs.State | None, Query(alias="state")] = None,
    kind: Kind = None,
    page: Page = 1,
) -> "Annotated[dict[str, Any], Shape(replies.jobs.Jobs)]":
    """Jobs, the newest first, 50 a page; those in a state or of a kind alone where these are given."""
    async with state.database.read() as connection:
        found = await jobs.listed(connection, state=of_state, kind=kind, most=PAGE_SIZE, skip=(page - 1) * PAGE_SIZE)
        total = await jobs.count(connection, state=of_state, kind=kind)
    return {"items": [_wire(job) for job in found], "total": total}


@router.get("/{job_id}")
@allow(ADMIN.on("job", "read"))
async def one(job_id: Id, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.jobs.Job)]":
    """One job, with its progress."""
    return _wire(await state.jobs.one(job_id))


@router.post("/{job_id}/cancel")
@allow(ADMIN.on("job", "write"))
async def cancel(job_id: Id, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.jobs.Job)]":
    """Cancels a job that waits, or has the process stop that runs it. One that comes by itself comes again at its next time."""
    return _wire(await state.jobs.cancel(job_id))


@router.post("/{job_id}/retry")
@allow(ADMIN.on("job", "write"))
async def retry(job_id: Id, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.jobs.Job)]":
    """Has a job that failed or was cancelled done anew, and one that waits at once."""
    return _wire(await state.jobs.retry(job_id))
