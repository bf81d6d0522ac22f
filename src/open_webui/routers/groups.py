"""Groups of people."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import Query

from open_webui.access.policy import ADMIN, USER
from open_webui.deps import AppState, Caller, Page
from open_webui.models.groups import Group
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Shape
from open_webui.schemas.users import GroupForm, UserIds, UserInfo
from open_webui.services import groups, previews

router = new_router(prefix="/api/v1/groups", tag="groups")
Membership = Literal["direct", "inherited", "effective"]
Text = Annotated[str, Query(max_length=500)]


@router.get("/")
@allow(USER.on("group", "list"))
async def list_groups(state: AppState, caller: Caller, share: bool | None = None) -> list[Group]:
    """Groups: for administrators all, for others those that they are in or may share with."""
    return await groups.list_visible(state, caller, share)


@router.post("/create")
@allow(ADMIN.on("group", "create"))
async def create(form: GroupForm, state: AppState, caller: Caller) -> Group:
    """Makes a group."""
    return await groups.create(state, caller, form)


@router.get("/id/{group_id}")
@allow(ADMIN.on("group", "read"))
async def get(group_id: str, state: AppState) -> Group:
    """A group."""
    return await groups.get(state, group_id)


@router.get("/id/{group_id}/info")
@allow(USER.on("group", "read"))
async def info(
    group_id: str, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.people.GroupInfo | None)]":
    """A group, without what its members may do."""
    row = msgspec.structs.asdict(await groups.get_info(state, caller, group_id))
    return {k: v for k, v in row.items() if k not in {"data", "meta", "permissions"}}


@router.get("/id/{group_id}/export")
@allow(ADMIN.on("group", "read"))
async def export(
    group_id: str, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.people.GroupExport | None)]":
    """A group with the ids of its members."""
    group = await groups.get(state, group_id)
    return msgspec.structs.asdict(group) | {"user_ids": await groups.list_member_ids(state, group_id)}


@router.post("/id/{group_id}/users")
@allow(ADMIN.on("group", "read"))
async def users_of(group_id: str, state: AppState) -> list[UserInfo]:
    """The members of a group."""
    return await groups.list_members(state, group_id)


@router.get("/id/{group_id}/members")
@allow(ADMIN.on("group", "read"))
async def members(
    group_id: str, state: AppState, membership: Membership = "effective", query: Text = "", page: Page = 1
) -> "Annotated[dict[str, Any], Shape(replies.people.GroupMembersPage)]":
    """The members of a group, a page of them."""
    return await groups.page_members(state, group_id, membership, query, page)


@router.get("/id/{group_id}/preview")
@allow(ADMIN.on("group", "read"))
async def preview(group_id: str, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.people.GroupPreview)]":
    """What a member may do and use, by the defaults, by the group's parent, and by the group itself."""
    return await previews.group(state, group_id)


@router.post("/id/{group_id}/update")
@allow(ADMIN.on("group", "write"))
async def update(group_id: str, form: GroupForm, state: AppState) -> Group:
    """Changes a group."""
    return await groups.update(state, group_id, form)


@router.post("/id/{group_id}/users/add")
@allow(ADMIN.on("group", "write"))
async def add_users(group_id: str, form: UserIds, state: AppState) -> Group:
    """Takes people into a group."""
    return await groups.add_members(state, group_id, form.user_ids or [])


@router.post("/id/{group_id}/users/remove")
@allow(ADMIN.on("group", "write"))
async def remove_users(group_id: str, form: UserIds, state: AppState) -> Group:
    """Takes people out of a group."""
    return await groups.remove_members(state, group_id, form.user_ids or [])


@router.delete("/id/{group_id}/delete")
@allow(ADMIN.on("group", "delete"))
async def delete(group_id: str, state: AppState) -> bool:
    """Removes a group."""
    await groups.delete(state, group_id)
    return True
