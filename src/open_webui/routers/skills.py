"""Skills: instructions with files that models read when they need them, kept by people, shared, and carried around."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError

from open_webui import constants
from open_webui.access.policy import ADMIN, USER
from open_webui.deps import AppState, Caller, Page
from open_webui.models import repository
from open_webui.principal import Principal
from open_webui.routers.files import SAFE
from open_webui.routing import allow, encode, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.schemas.skills import MAX_LISTED, AccessForm, CloneForm, LoadForm, SkillForm, VersionForm
from open_webui.services import skill_files, skill_import, skill_versions, skills

router = new_router(prefix="/api/v1/skills", tag="skills")
LIST, READ, WRITE, CREATE = (USER.on("skill", action) for action in ("list", "read", "write", "create"))
SkillId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]
VersionId = Annotated[str, Path(max_length=constants.MAX_ID)]
AVersion = Annotated[str, Query(max_length=constants.MAX_ID)]
MaybeVersion = Annotated[str | None, Query(max_length=constants.MAX_ID)]
FilePath = Annotated[str, Query(max_length=2 * skill_files.MAX_PATH)]
Text = Annotated[str | None, Query(max_length=500)]
Format = Annotated[str, Query(alias="format", max_length=20)]
Ids = Annotated[list[str] | None, Query(max_length=MAX_LISTED)]


def form_of(**fields: dict[str, Any]) -> dict[str, Any]:
    """A form of several parts, as the description of the interface has it."""
    files = {"type": "array", "items": {"type": "string", "contentMediaType": "application/octet-stream"}}
    schema = {"type": "object", "required": ["files", *fields], "properties": {"files": files, **fields}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@router.get("/")
@allow(LIST)
async def list_skills(
    state: AppState, caller: Caller, query: Text = None
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.skills.ListedSkill])]":
    """The skills that one may use."""
    return await skills.listed(state, caller, query)


@router.get("/list")
@allow(LIST)
async def workspace(
    state: AppState,
    caller: Caller,
    *,
    query: Text = None,
    view_option: Text = None,
    order_by: Text = None,
    direction: Text = None,
    page: Page = 1,
) -> "Annotated[dict[str, Any], Shape(replies.skills.SkillsPage)]":
    """The same, 30 a page, each with whether one may change it."""
    wanted = repository.Query(text=query, view=view_option, sort=order_by, direction=direction, number=page)
    return await skills.page(state, caller, wanted)


@router.get("/export")
@allow(LIST)
async def export(
    state: AppState, caller: Caller, kind: Format = "json", ids: Ids = None, version_id: MaybeVersion = None
) -> "Annotated[Response, Shape(list[replies.skills.ExportedSkill]), Media('application/zip')]":
    """The skills that one may use, or some of them, whole: as JSON or as an archive; needs the permission
    workspace.skills_export.
    """
    found = await skill_import.exported(state, caller, ids, version_id, kind)
    if not isinstance(found, bytes):
        return Response(encode(found), media_type="application/json")
    name = quote(skill_import.file_name(ids, kind))
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(found, media_type="application/zip", headers=headers)


@router.post("/create")
@allow(CREATE)
async def create(
    form: SkillForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.skills.Skill | None)]":
    """Keeps a new skill; needs the permission workspace.skills or workspace.skills_import."""
    return await skills.create(state, caller, form)


@router.post("/load/url")
@allow(ADMIN)
async def load(
    form: LoadForm, state: AppState
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.skills.ExportedSkill])]":
    """The skills that lie at an address of the web, to be looked at and imported."""
    return await skill_import.fetch(state, form.url)


@router.post("/import/preview", openapi_extra=form_of())
@allow(CREATE)
async def preview_import(
    request: Request, state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.skills.Previewed])]":
    """The skills in files that were chosen: archives, exports, texts, or the files of a folder; needs the permission
    workspace.skills_import.
    """
    return await skill_import.preview(state, caller, await _received(request, caller))


@router.post("/import", openapi_extra=form_of(decisions={"type": "string"}))
@allow(CREATE)
async def import_skills(
    request: Request, state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.skills.Imported])]":
    """Takes in the skills in these files, each as it was decided; needs the permission workspace.skills_import."""
    return await skill_import.take(state, caller, await _received(request, caller, "decisions"))


async def _received(request: Request, caller: Principal, *fields: str) -> skill_import.Sent:
    try:
        kind = request.headers.get("content-type", "")
        return await skill_import.received(caller, kind, request.stream(), *fields)
    except skill_import.Missing as error:
        told = {"type": "missing", "msg": "Field required", "input": None}
        raise RequestValidationError([told | {"loc": ("body", name)} for name in error.names]) from None


@router.get("/id/{id}")
@allow(READ)
async def get(
    skill_id: SkillId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.skills.SkillDetail | None)]":
    """A skill with its text."""
    return await skills.get(state, caller, skill_id)


@router.post("/id/{id}/update")
@allow(WRITE)
async def update(
    skill_id: SkillId, form: SkillForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.skills.WholeSkill | None)]":
    """Changes a skill: a new version of it."""
    return await skills.update(state, caller, skill_id, form)


@router.post("/id/{id}/update/version")
@allow(WRITE)
async def set_version(
    skill_id: SkillId, form: VersionForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.skills.WholeSkill | None)]":
    """Brings an earlier version of a skill back."""
    return await skill_versions.restore(state, caller, skill_id, form)


@router.post("/id/{id}/access/update")
@allow(USER.on("skill", "share"))
async def set_access(
    skill_id: SkillId, form: AccessForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.skills.WholeSkill | None)]":
    """Replaces the grants on a skill."""
    return await skills.set_access(state, caller, skill_id, form.access_grants)


@router.post("/id/{id}/toggle")
@allow(WRITE)
async def toggle(
    skill_id: SkillId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.skills.WholeSkill | None)]":
    """Switches a skill off or on."""
    return await skills.toggle(state, caller, skill_id)


@router.post("/id/{id}/clone")
@allow(READ)
async def clone(
    skill_id: SkillId, form: CloneForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.skills.WholeSkill)]":
    """Makes a copy of a skill, which is one's own; needs the permission workspace.skills or workspace.skills_import."""
    return await skill_versions.clone(state, caller, skill_id, form)


@router.delete("/id/{id}/delete")
@allow(USER.on("skill", "delete"))
async def delete(skill_id: SkillId, state: AppState, caller: Caller) -> bool:
    """Removes a skill with its files and versions."""
    return await skills.delete(state, caller, skill_id)


# Its files and its history


@router.get("/id/{id}/files")
@allow(READ)
async def files(
    skill_id: SkillId, state: AppState, caller: Caller, version_id: MaybeVersion = None
) -> "Annotated[dict[str, Any], Shape(replies.skills.Files)]":
    """The files of a skill, or of an earlier version for those who may change it."""
    return await skill_versions.files(state, caller, skill_id, version_id)


@router.get("/id/{id}/files/content")
@allow(READ)
async def file_content(
    skill_id: SkillId, state: AppState, caller: Caller, path: FilePath, version_id: AVersion
) -> "Annotated[Response, Media('text/*'), Media('application/octet-stream')]":
    """What stands in one of these files."""
    data = await skill_versions.file(state, caller, skill_id, version_id, path)
    kind = "application/octet-stream"
    if skill_files.is_text(data):
        kind = "text/markdown" if path.lower().endswith(".md") else "text/plain"
    return Response(data, media_type=kind, headers=SAFE)


@router.get("/id/{id}/history")
@allow(WRITE)
async def history(
    skill_id: SkillId, state: AppState, caller: Caller, page: Page = 1
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.skills.SkillVersion])]":
    """The versions of a skill, the newest first, 30 a page."""
    return await skill_versions.page(state, caller, skill_id, page)


@router.get("/id/{id}/history/diff")
@allow(WRITE)
async def difference(
    skill_id: SkillId, state: AppState, caller: Caller, from_id: AVersion, to_id: AVersion
) -> "Annotated[dict[str, Any], Shape(replies.skills.SkillDifference)]":
    """Which values and files differ between two versions of a skill."""
    return await skill_versions.difference(state, caller, skill_id, from_id, to_id)


@router.get("/id/{id}/history/diff/file")
@allow(WRITE)
async def file_difference(
    skill_id: SkillId, state: AppState, caller: Caller, from_id: AVersion, to_id: AVersion, path: FilePath
) -> "Annotated[dict[str, Any], Shape(replies.skills.FileDifference)]":
    """What differs in one file between two versions of a skill."""
    return await skill_versions.file_difference(state, caller, skill_id, from_id, to_id, path)


@router.get("/id/{id}/history/{history_id}")
@allow(READ)
async def version(
    skill_id: SkillId, history_id: VersionId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.skills.WholeSkillVersion)]":
    """A version of a skill with its text; an earlier one for those who may change it."""
    return await skill_versions.entry(state, caller, skill_id, history_id)


@router.delete("/id/{id}/history/{history_id}")
@allow(WRITE)
async def remove_version(skill_id: SkillId, history_id: VersionId, state: AppState, caller: Caller) -> bool:
    """Removes a version of a skill that is not in use."""
    return await skill_versions.remove(state, caller, skill_id, history_id)
