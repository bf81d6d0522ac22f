"""Budgets: what API keys may spend, by day and by month."""

from typing import Annotated, Any

import msgspec
from fastapi import Path

from open_webui.access.policy import ADMIN, PENDING
from open_webui.constants import MAX_ID
from open_webui.deps import AppState, Caller
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.budgets import BudgetForm, InBudget
from open_webui.schemas.replies.shape import Shape
from open_webui.services import budgets

router = new_router(prefix="/api/v1/auths", tag="auths")
# A person at a page, not a key: a key lifts no limit of its own.
SESSION = msgspec.structs.replace(PENDING, session_only=True)
ADMINS_SESSION = msgspec.structs.replace(ADMIN, session_only=True)
BudgetId = Annotated[str, Path(max_length=MAX_ID)]
UserId = Annotated[str, Path(max_length=MAX_ID)]
KeyId = Annotated[str, Path(max_length=MAX_ID)]


@router.get("/budgets")
@allow(SESSION)
async def listed(
    state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.keys.Budget])]":
    """One's budgets, for administrators the server's, too, with what was spent of each today and this month."""
    return await budgets.listed(state, caller)


@router.post("/budgets")
@allow(SESSION)
async def create(
    form: BudgetForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.keys.Budget)]":
    """Makes a budget for one's own keys."""
    return await budgets.create(state, caller, form, servers=False)


@router.post("/budgets/server")
@allow(ADMINS_SESSION)
async def create_of_server(
    form: BudgetForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.keys.Budget)]":
    """Makes a budget of the server's, for service accounts, their keys, and accounts."""
    return await budgets.create(state, caller, form, servers=True)


@router.post("/budgets/{budget_id}")
@allow(SESSION)
async def update(
    budget_id: BudgetId, form: BudgetForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.keys.Budget)]":
    """Replaces a budget's name and limits. What was spent stays."""
    return await budgets.update(state, caller, budget_id, form)


@router.delete("/budgets/{budget_id}")
@allow(SESSION)
async def remove(budget_id: BudgetId, state: AppState, caller: Caller) -> bool:
    """Removes a budget that no key and no account is in."""
    await budgets.remove(state, caller, budget_id)
    return True


@router.post("/budgets/accounts/{user_id}")
@allow(ADMINS_SESSION)
async def put_account(user_id: UserId, form: InBudget, state: AppState, caller: Caller) -> bool:
    """Has all keys of an account count in one of the server's budgets together."""
    await budgets.put_account(state, caller, user_id, form.budget_id)
    return True


@router.post("/keys/{key_id}/budget")
@allow(SESSION.on("api_key", "write"))
async def put_key(key_id: KeyId, form: InBudget, state: AppState, caller: Caller) -> bool:
    """Has a key count in a budget of one's own; for administrators also a service account's in one of the server's."""
    await budgets.put_key(state, caller, key_id, form.budget_id)
    return True
