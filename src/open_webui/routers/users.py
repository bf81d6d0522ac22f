"""People: lists and changes for admins, settings and state for oneself, what others may know."""

from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.responses import StreamingResponse

from open_webui import constants
from open_webui.access.permissions import tree
from open_webui.access.policy import ADMIN, PUBLIC, USER
from open_webui.config import DEFAULT_PERMISSIONS
from open_webui.deps import AppState, Caller, Page
from open_webui.errors import BadRequest, Forbidden
from open_webui.models import groups, users
from open_webui.models.groups import Group
from open_webui.models.users import Person, User
from open_webui.routers.files import SAFE, serve
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.schemas.users import Permissions, Status, UpdateUser, UserInfo, Variables
from open_webui.services import accounts, activity, files, people, previews
from open_webui.services.exporting import own as own_archive
from open_webui.services.people import Picture

router = new_router(prefix="/api/v1/users", tag="users")
# The default picture's address on the wire, which lies outside every prefix.
pictures = new_router(tag="users")

Search = Annotated[str | None, Query(max_length=500)]
Word = Annotated[str | None, Query(max_length=50)]
Moment = Annotated[int | None, Query(ge=0, le=253_402_300_799)]


@router.get("/")
@allow(ADMIN.on("user", "list"))
async def list_users(
    state: AppState, query: Search = None, order_by: Word = None, direction: Word = None, page: Page = 1
) -> "Annotated[dict[str, Any], Shape(replies.people.UsersPage)]":
    """Accounts, a page of them."""
    async with state.database.read() as connection:
        found, total = await users.page(
            connection, User, query=query, order_by=order_by, direction=direction, number=page
        )
        group_ids = await users.group_ids(connection, [u.id for u in found])
    return {
        "users": [people.without_secrets(u) | {"group_ids": group_ids.get(u.id, [])} for u in found],
        "total": total,
    }


@router.get("/all")
@allow(ADMIN.on("user", "list"))
async def all_users(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.people.PeoplePage)]":
    """All accounts, as people see each other."""
    async with state.database.read() as connection:
        found, total = await users.page(connection, Person, number=None)
    return {"users": [people.info(u) for u in found], "total": total}


@router.get("/search")
@allow(USER.on("user", "search"))
async def search(
    state: AppState, caller: Caller, query: Search = None, order_by: Word = None, direction: Word = None, page: Page = 1
) -> "Annotated[dict[str, Any], Shape(replies.people.PeoplePage)]":
    """People by their name; administrators also by their e-mail address."""
    async with state.database.read() as connection:
        # What somebody may not see he may not look for, nor put in order.
        found, total = await users.page(
            connection,
            Person,
            query=query,
            order_by=order_by if caller.is_admin else "name",
            direction=direction,
            number=page,
            by_email=caller.is_admin,
        )
    return {"users": [people.shown_to(caller, u) for u in found], "total": total}


@router.get("/groups")
@allow(USER)
async def own_groups(state: AppState, caller: Caller) -> list[Group]:
    """The groups that one is in."""
    async with state.database.read() as connection:
        return await groups.of_user(connection, caller.id)


@router.get("/permissions")
@allow(USER)
async def own_permissions(caller: Caller) -> dict[str, dict[str, bool]]:
    """What one may do."""
    return tree(caller.permissions)


@router.get("/default/permissions")
@allow(ADMIN)
async def default_permissions(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.settings.UserPermissions)]":
    """What everybody may do."""
    return _complete(state.config["user.permissions"])


@router.post("/default/permissions")
@allow(ADMIN.freshly_proven())
async def set_default_permissions(
    form: Permissions, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.settings.UserPermissions)]":
    """Sets what everybody may do.

    Permissions that this server doesn't know are not stored.
    """
    await state.save_config({"user.permissions": _complete(form.model_dump())})
    return _complete(state.config["user.permissions"])


@router.get("/default/permissions/defaults")
@allow(ADMIN)
async def shipped_permissions() -> "Annotated[dict[str, Any], Shape(replies.settings.UserPermissions)]":
    """What everybody may do where no administrator has changed it."""
    return DEFAULT_PERMISSIONS


@router.get("/user/export")
@allow(USER.needs("chat.export"))
async def export_own(state: AppState, caller: Caller) -> "Annotated[Response, Media('application/zip')]":
    """All that one has here as a ZIP file: chats, files, folders, memories, and what one made. Keys are not in it."""
    pieces = await own_archive.begun(state, caller)
    headers = {"content-disposition": 'attachment; filename="my-data.zip"'}
    return StreamingResponse(pieces, headers=SAFE | headers, media_type="application/zip")


@router.get("/user/settings")
@allow(USER)
async def settings(
    state: AppState, caller: Caller, raw: bool = False
) -> "Annotated[dict[str, Any] | None, Shape(replies.people.UserSettings | None)]":
    """One's own settings; over the page's defaults, unless `raw`."""
    stored = (await accounts.get(state, caller.id)).settings
    return stored if raw else people.effective_settings(stored, state.config)


@router.post("/user/settings/update")
@allow(USER.keeping_files())
async def update_settings(
    form: dict[str, Any], state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.people.UserSettings)]":
    """Changes one's own settings."""
    async with state.database.write() as unit:
        user = await users.get(unit.connection, caller.id, lock=True)
        if user is None:
            raise BadRequest(constants.NOT_FOUND)
        merged = people.merge_settings(user.settings, form, caller)
        await users.update(unit.connection, caller.id, {"settings": merged})
    return merged


@router.get("/user/status")
@allow(USER)
async def status(state: AppState, caller: Caller) -> User:
    """One's own account."""
    return await accounts.get(state, caller.id)


@router.post("/user/status/update")
@allow(USER)
async def update_status(form: Status, state: AppState, caller: Caller) -> User:
    """Says what one is doing."""
    if not state.config["users.enable_status"]:
        raise Forbidden(constants.ACTION_PROHIBITED, status=403)
    return await accounts.change(state, caller.id, form.model_dump())


@router.get("/user/variables")
@allow(USER)
async def variables(
    state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.people.UserVariables)]":
    """One's variables, which stand for texts in prompts."""
    async with state.database.read() as connection:
        return {"variables": await users.variables(connection, caller.id)}


@router.post("/user/variables/update")
@allow(USER.keeping_files())
async def update_variables(
    form: Variables, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.people.UserVariables)]":
    """Sets one's variables."""
    values = people.bounded(people.document(form.variables))
    await accounts.change(state, caller.id, {"variables": values})
    return {"variables": values}


@router.get("/user/info")
@allow(USER)
async def own_info(state: AppState, caller: Caller) -> dict[str, Any] | None:
    """What pages keep about one."""
    return (await accounts.get(state, caller.id)).info


@router.post("/user/info/update")
@allow(USER.keeping_files())
async def update_info(form: dict[str, Any], state: AppState, caller: Caller) -> dict[str, Any]:
    """Adds to what pages keep about one."""
    async with state.database.write() as unit:
        user = await users.get(unit.connection, caller.id, lock=True)
        if user is None:
            raise BadRequest(constants.NOT_FOUND)
        merged = people.bounded((user.info or {}) | people.document(form))
        await users.update(unit.connection, caller.id, {"info": merged})
    return merged


@router.get("/usage")
@allow(USER)
async def usage(
    state: AppState,
    caller: Caller,
    days: Annotated[int | None, Query(ge=activity.LEAST_DAYS, le=activity.MOST_DAYS)] = None,
    start_date: Moment = None,
    end_date: Moment = None,
) -> "Annotated[dict[str, Any], Shape(replies.usage.UserUsage)]":
    """Figures about one's use of models, by days."""
    return await activity.report(state.database, caller.id, activity.period(days, start_date, end_date))


@router.get("/{user_id}")
@allow(ADMIN.on("user", "read"))
async def get_user(user_id: str, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.people.ActivePerson)]":
    """Somebody's account."""
    user = await accounts.get(state, user_id)
    async with state.database.read() as connection:
        theirs = await groups.of_user(connection, user_id)
    return people.without_secrets(user) | {"groups": _named(theirs), "is_active": user.is_active}


@router.get("/{user_id}/info")
@allow(USER.on("user", "search"))
async def user_info(user_id: str, state: AppState, caller: Caller) -> UserInfo:
    """What one may know of somebody."""
    user = await accounts.get(state, user_id)
    async with state.database.read() as connection:
        return people.shown_to(caller, user, _named(await groups.of_user(connection, user_id)))


@router.get("/{user_id}/active")
@allow(USER)
async def user_active(user_id: str, state: AppState) -> "Annotated[dict[str, bool], Shape(replies.people.Active)]":
    """Whether somebody is there now."""
    async with state.database.read() as connection:
        user = await users.get(connection, user_id)
    return {"active": user is not None and (user.is_active or state.emitter.is_connected(user_id))}


@router.get("/{user_id}/groups")
@allow(ADMIN.on("user", "read"))
async def user_groups(user_id: str, state: AppState) -> list[Group]:
    """The groups that somebody is in."""
    async with state.database.read() as connection:
        return await groups.of_user(connection, user_id)


@router.get("/{user_id}/preview")
@allow(ADMIN.on("user", "read"))
async def preview(user_id: str, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.people.UserPreview)]":
    """What somebody may do and use, as the server would decide it now."""
    return await previews.user(state, user_id)


@router.get("/{user_id}/profile/image")
@allow(USER)
async def profile_image(
    user_id: str, request: Request, state: AppState
) -> "Annotated[Response, Media('image/*', also=(302, 304))]":
    """Somebody's picture."""
    user = await accounts.get(state, user_id)
    file = await files.picture_of(state, "profile_id", user.id, user.profile_image_url)
    return shown(people.picture(user), request) if file is None else await serve(state.blobs, file, request)


@router.post("/{user_id}/update")
@allow(ADMIN.on("user", "write").keeping_files().freshly_proven())
async def update_user(
    user_id: str, form: UpdateUser, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.people.User | None)]":
    """Changes somebody's account."""
    return people.without_secrets(await accounts.update(state, caller, user_id, form))


@router.post("/{user_id}/sessions/revoke")
@allow(ADMIN.on("user", "write"))
async def revoke_sessions(user_id: str, state: AppState) -> bool:
    """Ends all of somebody's sessions."""
    await accounts.revoke_sessions(state, user_id)
    return True


@router.delete("/{user_id}")
@allow(ADMIN.on("user", "delete").freshly_proven())
async def delete_user(user_id: str, state: AppState, caller: Caller) -> bool:
    """Removes an account and all that belongs to it."""
    await accounts.delete(state, caller, user_id)
    await state.running.stop_user(user_id)
    await state.running.stop_gone()
    return True


@pictures.get("/user.png")
@allow(PUBLIC)
async def default_picture(request: Request) -> "Annotated[Response, Media('image/*', also=(302, 304))]":
    """The picture of who has none."""
    return shown(people.nobody(), request)


def _complete(permissions: dict[str, Any]) -> dict[str, dict[str, bool]]:
    """A permission tree with every known permission and no other; what it leaves out is as shipped."""
    return {
        section: {name: permissions.get(section, {}).get(name, default) is True for name, default in entries.items()}
        for section, entries in DEFAULT_PERMISSIONS.items()
    }


def _named(found: list[Group]) -> list[dict[str, str]]:
    return [{"id": g.id, "name": g.name} for g in found]


def shown(picture: Picture, request: Request) -> Response:
    """A picture's reply: never active content, checked anew at each use so that a change shows at once."""
    if picture.url is not None:
        return Response(status_code=302, headers={"location": picture.url})
    headers = {"etag": picture.etag, "cache-control": "private, no-cache"}
    headers |= {"content-security-policy": "default-src 'none'; sandbox", "x-content-type-options": "nosniff"}
    if request.headers.get("if-none-match") == picture.etag:
        return Response(status_code=304, headers=headers)
    return Response(picture.data, media_type=picture.media_type, headers=headers)
