"""Role sets: what an administrator hands over, to whom, and what its holders do with it. Also with whom groups may share."""

from typing import Annotated, Any

import msgspec
from fastapi import Path, Query

from open_webui.access.policy import ADMIN, USER
from open_webui.constants import MAX_ID
from open_webui.deps import AppState, Caller, Page
from open_webui.models import groups
from open_webui.models.role_sets import Stored
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Shape
from open_webui.schemas.role_sets import LimitForm, RoleSetForm
from open_webui.services import delegated, role_sets

router = new_router(prefix="/api/v1/role-sets", tag="users")
people = new_router(prefix="/api/v1/delegated", tag="users")
sharing = new_router(prefix="/api/v1/groups", tag="groups")
# A person at a page, not a key.
SESSION = msgspec.structs.replace(ADMIN, session_only=True)
SetId = Annotated[str, Path(max_length=MAX_ID)]
UserId = Annotated[str, Path(max_length=MAX_ID)]
GroupId = Annotated[str, Path(max_length=MAX_ID)]
Search = Annotated[str | None, Query(max_length=500)]


@router.get("")
@allow(ADMIN)
async def listed(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.role_sets.RoleSets)]":
    """All role sets, and the rights that one can give."""
    return await role_sets.listed(state)


@router.get("/own")
@allow(USER)
async def own(
    state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.role_sets.OwnRoleSet])]":
    """The role sets that one holds, with the groups whose people they are about."""
    return await role_sets.own(state, caller)


@router.post("")
@allow(SESSION.freshly_proven())
async def create(form: RoleSetForm, state: AppState) -> "Annotated[Stored, Shape(replies.role_sets.RoleSet)]":
    """Makes a role set."""
    return await role_sets.create(state, form)


@router.post("/{role_set_id}")
@allow(SESSION.freshly_proven())
async def update(
    role_set_id: SetId, form: RoleSetForm, state: AppState
) -> "Annotated[Stored, Shape(replies.role_sets.RoleSet)]":
    """Replaces a role set: what it gives, on whom, and who holds it."""
    return await role_sets.update(state, role_set_id, form)


@router.delete("/{role_set_id}")
@allow(SESSION)
async def remove(role_set_id: SetId, state: AppState) -> bool:
    """Removes a role set. Who held it loses what it gave at once."""
    await role_sets.remove(state, role_set_id)
    return True


@people.get("/people")
@allow(SESSION.or_by("people.list"))
async def list_people(
    state: AppState, caller: Caller, query: Search = None, page: Page = 1
) -> "Annotated[dict[str, Any], Shape(replies.role_sets.HeldPeople)]":
    """The people of one's role sets' groups, a page of them. Administrators and holders of role sets are not among them."""
    return await delegated.people(state, caller, query, page)


@people.post("/people/{user_id}/hold")
@allow(SESSION.or_by("people.hold"))
async def hold(user_id: UserId, state: AppState, caller: Caller) -> bool:
    """Lets somebody wait to be let in again."""
    await delegated.hold(state, caller, user_id)
    return True


@people.post("/people/{user_id}/activate")
@allow(SESSION.or_by("people.activate"))
async def activate(user_id: UserId, state: AppState, caller: Caller) -> bool:
    """Lets somebody in who waits."""
    await delegated.activate(state, caller, user_id)
    return True


@people.post("/people/{user_id}/factors/reset")
@allow(SESSION.or_by("people.reset_factors").freshly_proven())
async def reset_factors(
    user_id: UserId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.people.MfaReset)]":
    """Removes somebody's second factors and recovery codes, for who lost them. It ends their sessions."""
    return {"removed": await delegated.reset_factors(state, caller, user_id)}


@people.post("/groups/{group_id}/people/{user_id}")
@allow(SESSION.or_by("people.groups"))
async def add(group_id: GroupId, user_id: UserId, state: AppState, caller: Caller) -> bool:
    """Takes somebody of one's groups into another one of them."""
    await delegated.add(state, caller, group_id, user_id)
    return True


@people.delete("/groups/{group_id}/people/{user_id}")
@allow(SESSION.or_by("people.groups"))
async def take_out(group_id: GroupId, user_id: UserId, state: AppState, caller: Caller) -> bool:
    """Takes somebody out of a group."""
    await delegated.take_out(state, caller, group_id, user_id)
    return True


@sharing.get("/sharing")
@allow(ADMIN)
async def limits(state: AppState) -> "Annotated[list[groups.Limit], Shape(list[replies.role_sets.Limit])]":
    """With whom the members of each group may share."""
    return await role_sets.limits(state)


@sharing.post("/id/{group_id}/sharing")
@allow(ADMIN.on("group", "write"))
async def set_limit(
    group_id: GroupId, form: LimitForm, state: AppState
) -> "Annotated[groups.Limit, Shape(replies.role_sets.Limit)]":
    """Says with whom the members of a group may share: nobody, their groups, everybody; null for no word on it."""
    return await role_sets.set_limit(state, group_id, form.share_with)
