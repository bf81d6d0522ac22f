"""Automations, as they go out."""

from typing import TypedDict

from open_webui.schemas.replies.shape import Object


class AutomationRun(TypedDict):
    id: str
    automation_id: str
    chat_id: str | None
    status: str
    error: str | None
    created_at: int


class Automation(TypedDict):
    id: str
    user_id: str
    folder_id: str | None
    name: str
    data: Object
    meta: Object | None
    is_active: bool
    last_run_at: int | None
    next_run_at: int | None
    created_at: int
    updated_at: int
    last_run: AutomationRun | None
    next_runs: list[int] | None


class AutomationsPage(TypedDict):
    items: list[Automation]
    total: int
