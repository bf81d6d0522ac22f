"""SCIM 2.0: what a directory (Entra, Okta) calls to keep accounts and groups as its own are. services/scim/ does it."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from fastapi import Request, Response

from open_webui.access.directory_token import check_on
from open_webui.access.policy import PUBLIC, SCIM
from open_webui.deps import AppState
from open_webui.errors import ScimError
from open_webui.models.directory import Wanted
from open_webui.routers.sessions import base_url
from open_webui.routing import Json, allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.services.scim import bulk, discovery, groups, users
from open_webui.services.scim.documents import (
    DEFAULT_COUNT,
    MAX_COUNT,
    PREFIX,
    Document,
    Place,
    Shown,
    list_response,
    same_version,
    shown,
)
from open_webui.state import State
from open_webui.utils.scim_filters import FilterProblem, read_filter, without_schema

router = new_router(prefix=PREFIX, tag="scim")
_TYPES: Final = frozenset({"application/scim+json", "application/json", ""})
_MAX_INDEX: Final = 2**40
Text = str | None


class ScimJson(Json):
    media_type = "application/scim+json"


@router.get("/ServiceProviderConfig")
@allow(PUBLIC)
async def service_provider_config(
    request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.scim.ScimConfig)]":
    """What this server can do of SCIM."""
    _check_discovery(request, state)
    return ScimJson(discovery.service_provider_config(base_url(request, state)))


@router.get("/ResourceTypes")
@allow(PUBLIC)
async def resource_types(request: Request, state: AppState) -> "Annotated[Response, Shape(replies.scim.ScimList)]":
    """The kinds of things that a directory keeps here."""
    _check_discovery(request, state)
    found = discovery.resource_types(base_url(request, state))
    return ScimJson(list_response(found, len(found), 0))


@router.get("/ResourceTypes/{name}")
@allow(PUBLIC)
async def resource_type(
    name: str, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.scim.ScimResourceType)]":
    """One of them."""
    _check_discovery(request, state)
    return ScimJson(discovery.one_of(discovery.resource_types(base_url(request, state)), name))


@router.get("/Schemas")
@allow(PUBLIC)
async def schemas(request: Request, state: AppState) -> "Annotated[Response, Shape(replies.scim.ScimList)]":
    """The attributes that accounts and groups have."""
    _check_discovery(request, state)
    found = discovery.schemas(base_url(request, state))
    return ScimJson(list_response(found, len(found), 0))


@router.get("/Schemas/{name}")
@allow(PUBLIC)
async def schema(name: str, request: Request, state: AppState) -> "Annotated[Response, Shape(replies.scim.ScimSchema)]":
    """Those of accounts, or of groups."""
    _check_discovery(request, state)
    return ScimJson(discovery.one_of(discovery.schemas(base_url(request, state)), name))


@router.get("/Users")
@allow(SCIM)
async def list_users(request: Request, state: AppState) -> "Annotated[Response, Shape(replies.scim.ScimList)]":
    """Accounts. Takes `filter`, `startIndex`, `count`, `sortBy`, `sortOrder`, `attributes`, `excludedAttributes`."""
    return await _listed(request, state, users)


@router.post("/Users")
@allow(SCIM)
async def create_user(
    request: "Annotated[Request, Shape(replies.scim.ScimUserForm)]", state: AppState
) -> "Annotated[Response, Shape(replies.scim.ScimUser)]":
    """Makes an account."""
    return _made(request, await users.create(state, _place(request, state), await _body(request)))


@router.get("/Users/{user_id}")
@allow(SCIM)
async def get_user(
    user_id: str, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.scim.ScimUser)]":
    """An account."""
    return _one(request, await users.get(state, _place(request, state), user_id))


@router.put("/Users/{user_id}")
@allow(SCIM)
async def replace_user(
    user_id: str, request: "Annotated[Request, Shape(replies.scim.ScimUserForm)]", state: AppState
) -> "Annotated[Response, Shape(replies.scim.ScimUser)]":
    """Makes an account what is sent."""
    body = await _body(request)
    return _one(request, await users.replace(state, _place(request, state), user_id, body, _if_match(request)))


@router.patch("/Users/{user_id}")
@allow(SCIM)
async def patch_user(
    user_id: str, request: "Annotated[Request, Shape(replies.scim.ScimPatch)]", state: AppState
) -> "Annotated[Response, Shape(replies.scim.ScimUser)]":
    """Changes some of an account."""
    body = await _body(request)
    return _one(request, await users.patch(state, _place(request, state), user_id, body, _if_match(request)))


@router.delete("/Users/{user_id}")
@allow(SCIM)
async def delete_user(
    user_id: str, request: Request, state: AppState
) -> "Annotated[Response, Media('application/scim+json', also=(204,))]":
    """Removes an account and all that belongs to it."""
    await users.delete(state, _place(request, state), user_id, _if_match(request))
    return Response(status_code=204)


@router.get("/Groups")
@allow(SCIM)
async def list_groups(request: Request, state: AppState) -> "Annotated[Response, Shape(replies.scim.ScimList)]":
    """Groups. Takes what the list of accounts takes."""
    return await _listed(request, state, groups)


@router.post("/Groups")
@allow(SCIM)
async def create_group(
    request: "Annotated[Request, Shape(replies.scim.ScimGroupForm)]", state: AppState
) -> "Annotated[Response, Shape(replies.scim.ScimGroup)]":
    """Makes a group."""
    return _made(request, await groups.create(state, _place(request, state), await _body(request)))


@router.get("/Groups/{group_id}")
@allow(SCIM)
async def get_group(
    group_id: str, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.scim.ScimGroup)]":
    """A group with its members."""
    return _one(request, await groups.get(state, _place(request, state), group_id, _shown(request)))


@router.put("/Groups/{group_id}")
@allow(SCIM)
async def replace_group(
    group_id: str, request: "Annotated[Request, Shape(replies.scim.ScimGroupForm)]", state: AppState
) -> "Annotated[Response, Shape(replies.scim.ScimGroup)]":
    """Makes a group what is sent."""
    body = await _body(request)
    return _one(request, await groups.replace(state, _place(request, state), group_id, body, _if_match(request)))


@router.patch("/Groups/{group_id}")
@allow(SCIM)
async def patch_group(
    group_id: str, request: "Annotated[Request, Shape(replies.scim.ScimPatch)]", state: AppState
) -> "Annotated[Response, Shape(replies.scim.ScimGroup)]":
    """Changes a group, or who is in it."""
    body = await _body(request)
    return _one(request, await groups.patch(state, _place(request, state), group_id, body, _if_match(request)))


@router.delete("/Groups/{group_id}")
@allow(SCIM)
async def delete_group(
    group_id: str, request: Request, state: AppState
) -> "Annotated[Response, Media('application/scim+json', also=(204,))]":
    """Removes a group. Its members stay."""
    await groups.delete(state, _place(request, state), group_id, _if_match(request))
    return Response(status_code=204)


@router.post("/Users/.search")
@allow(SCIM)
async def search_users(
    request: "Annotated[Request, Shape(replies.scim.ScimSearch)]", state: AppState
) -> "Annotated[Response, Shape(replies.scim.ScimList)]":
    """Accounts, as the list has them, by a body."""
    return await _searched(request, state, users)


@router.post("/Groups/.search")
@allow(SCIM)
async def search_groups(
    request: "Annotated[Request, Shape(replies.scim.ScimSearch)]", state: AppState
) -> "Annotated[Response, Shape(replies.scim.ScimList)]":
    """Groups, by a body."""
    return await _searched(request, state, groups)


@router.post("/.search")
@allow(SCIM)
async def search_all(
    request: "Annotated[Request, Shape(replies.scim.ScimSearch)]", state: AppState
) -> "Annotated[Response, Shape(replies.scim.ScimList)]":
    """Accounts, and behind them groups."""
    return await _searched(request, state, users, groups)


@router.post("/Bulk")
@allow(SCIM)
async def run_bulk(
    request: "Annotated[Request, Shape(replies.scim.ScimBulk)]", state: AppState
) -> "Annotated[Response, Shape(replies.scim.ScimBulkAnswer)]":
    """Many changes at once, each done by itself."""
    return ScimJson(await bulk.run(state, _place(request, state), await _body(request)))


# What requests have in common


def _check_discovery(request: Request, state: State) -> None:
    check_on(state.settings)
    if "filter" in request.query_params:
        # RFC 7644, 4.
        raise ScimError("These are not filtered.", "", status=403)


def _place(request: Request, state: State) -> Place:
    return Place(base_url(request, state), state.settings.scim_auth_provider.strip().lower())


def _if_match(request: Request) -> Text:
    return request.headers.get("if-match")


def _shown(request: Request) -> Shown:
    return shown(request.query_params.get("attributes"), request.query_params.get("excludedAttributes"))


async def _body(request: Request) -> Document:
    """Raises ScimError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _TYPES:
        raise ScimError("Send JSON with the header 'Content-Type: application/scim+json'.", "", status=415)
    try:
        body: Any = await request.json()
    except json.JSONDecodeError:
        raise ScimError("The request is not valid JSON.", "invalidSyntax") from None
    if not isinstance(body, dict):
        raise ScimError("The request should be a JSON object.", "invalidSyntax")
    return body


async def _listed(request: Request, state: State, *kinds: Any) -> Response:
    return await _found(request, state, request.query_params, _shown(request), kinds)


async def _searched(request: Request, state: State, *kinds: Any) -> Response:
    """The same by a body, for filters that are too long for an address, or that nobody is to find in a log."""
    body = {k: v for k, v in (await _body(request)).items() if v is not None}
    names = {}
    for name in ("attributes", "excludedAttributes"):
        given = body.get(name, [])
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise ScimError(f"'{name}' is a list of names.")
        names[name] = ",".join(given)
    if not all(isinstance(body.get(name, ""), str) for name in ("filter", "sortBy", "sortOrder")):
        raise ScimError("'filter', 'sortBy' and 'sortOrder' are texts.")
    query = {name: str(value) for name, value in body.items() if isinstance(value, str | int | float)}
    return await _found(request, state, query, shown(names["attributes"], names["excludedAttributes"]), kinds)


async def _found(
    request: Request, state: State, query: Mapping[str, str], wanted_names: Shown, kinds: Sequence[Any]
) -> Response:
    """A page of one kind after the other. Where one has no attribute of a filter, none of it fulfils that."""
    first = max(1, _number(query.get("startIndex"), "startIndex", 1)) - 1
    count = min(max(0, _number(query.get("count"), "count", DEFAULT_COUNT)), MAX_COUNT)
    try:
        wanted = Wanted(
            filter=read_filter(query["filter"]) if query.get("filter") else None,
            first=min(first, _MAX_INDEX),
            count=count,
            sort=without_schema(query.get("sortBy", "")[:200])[1].lower(),
            descending=query.get("sortOrder", "").lower() == "descending",
        )
        problems = []
        found: list[Document] = []
        total = 0
        for of in kinds:
            rest = msgspec.structs.replace(wanted, first=max(0, wanted.first - total), count=wanted.count - len(found))
            try:
                more, there = await of.page(state, _place(request, state), rest, wanted_names)
            except FilterProblem as problem:
                problems.append(problem)
                continue
            found, total = [*found, *more], total + there
        if len(problems) == len(kinds):
            raise problems[0]
    except FilterProblem as problem:
        raise ScimError(str(problem), "invalidFilter") from None
    return ScimJson(list_response(found, total, wanted.first))


def _number(text: Text, name: str, default: int) -> int:
    if text is None or text == "":
        return default
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise ScimError(f"'{name}' is a number.")
    return int(text)


def _one(request: Request, document: Document) -> Response:
    """A resource with its version; nothing where a reader has that one."""
    version = document["meta"]["version"]
    headers = {"ETag": version, "Content-Location": document["meta"]["location"]}
    known = request.headers.get("if-none-match")
    if request.method == "GET" and known and same_version(known, version):
        return Response(status_code=304, headers=headers)
    return ScimJson(_shown(request).of(document), headers=headers)


def _made(request: Request, document: Document) -> Response:
    headers = {"ETag": document["meta"]["version"], "Location": document["meta"]["location"]}
    return ScimJson(_shown(request).of(document), status_code=201, headers=headers)
