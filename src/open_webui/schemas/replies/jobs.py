"""Jobs in the background, as they go out."""

from typing import Literal, TypedDict


class Job(TypedDict):
    """Times: seconds since 1970. key: what it is about. progress: from 0 to 1. error: why it failed last.

    allowed: after so many attempts it has failed. instance: the process that runs it. is_cancelled: it is to stop. due_at:
    when it may run, when its process must give a sign of life, or when it is removed.
    """

    id: str
    kind: str
    key: str | None
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    progress: float | None
    note: str | None
    error: str | None
    attempts: int
    allowed: int
    priority: int
    instance: str | None
    is_cancelled: bool
    due_at: int
    created_at: int
    started_at: int | None
    finished_at: int | None


class Jobs(TypedDict):
    """A page of jobs, and how many there are on all pages."""

    items: list[Job]
    total: int
