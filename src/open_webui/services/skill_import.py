"""Skills that come from elsewhere and go there: looked at, taken in one by one, fetched, and handed out."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import BadRequest, Forbidden, NotFound, OuiError, TooLarge
from open_webui.internal import guarded_http
from open_webui.internal.log import get_logger
from open_webui.models import skills
from open_webui.models.skills import Skill
from open_webui.principal import Principal
from open_webui.schemas.skills import Decision
from open_webui.services import plugins, skill_files, skill_packages, skill_versions
from open_webui.services import skills as kept
from open_webui.services.skill_limits import Deps
from open_webui.services.skill_packages import Package, Upload
from open_webui.utils.multipart import Form

log = get_logger(__name__)
MAX_UPLOAD: Final = 32 * 2**20
MAX_PARTS: Final = 1_000
MAX_EXPORT: Final = 64 * 2**20
MAX_DECISIONS: Final = 200_000
FETCH_SECONDS: Final = 30.0
NO_EXPORT: Final = "You may not export skills on this server. An administrator can allow it."
UNFIT: Final = "The decisions don't fit the skills that were sent. Look at the files again."
TOO_LARGE: Final = f"At most {MAX_UPLOAD // 2**20} MB are taken at once."
NOT_FETCHED: Final = "The skill could not be fetched: {}"
FORMATS: Final = ("json", "zip", "skill")
# Skills that are read at once.
_PORTION: Final = 20
_RAW: Final = "https://raw.githubusercontent.com"
_decisions: Final = TypeAdapter(list[Decision])
Wire = dict[str, Any]


class Missing(Exception):
    """A form that lacks fields. names: which."""

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.names = names


class Sent(msgspec.Struct):
    """What came with a form."""

    uploads: list[Upload]
    decisions: str | None = None


async def received(principal: Principal, content_type: str, body: AsyncIterator[bytes], *fields: str) -> Sent:
    """The files of a form whose bytes are arriving, and its other fields, which have to be there.

    Raises Missing, Forbidden, BadRequest, TooLarge.
    """
    if not content_type.lower().startswith("multipart/form-data"):
        raise Missing("files", *fields)
    # Before anything of it is read.
    if not principal.may("workspace.skills_import"):
        raise Forbidden
    form, sent, left = Form(content_type, body, max_parts=MAX_PARTS), Sent([]), MAX_UPLOAD
    async for part in form:
        if part.name == "files" and part.filename is not None:
            data = bytearray()
            async for piece in form.content():
                data += piece
                if len(data) > left:
                    raise TooLarge(TOO_LARGE)
            left -= len(data)
            sent.uploads.append((part.filename, bytes(data)))
        else:
            value = await form.text(MAX_DECISIONS)
            sent.decisions = value if part.name == "decisions" else sent.decisions
    there = {"files": bool(sent.uploads), "decisions": sent.decisions is not None}
    if missing := [name for name in ("files", *fields) if not there[name]]:
        raise Missing(*missing)
    return sent


# In


async def preview(deps: Deps, principal: Principal, sent: Sent) -> list[Wire]:
    """The skills in what was sent, and whether one may have them under their ids. Nothing is kept."""
    packages = await asyncio.to_thread(skill_packages.read, sent.uploads)
    async with deps.database.read() as connection:
        there = await skills.by_ids(connection, [one.id for one in packages])
        names = {row.name for row in await skills.with_names(connection, principal, [one.name for one in packages])}
    out = []
    seen: set[str] = set()
    for one in packages:
        row = there.get(one.id)
        replaces = row is not None and one.id not in seen and skills.brief.may(row, principal, "write")
        out.append({
            "id": one.id, "name": one.name, "description": one.description,
            "files": [{"path": file.path, "size": file.size} for file in one.files.values()],
            "id_taken": row is not None or one.id in seen, "name_taken": one.name in names, "can_replace": replaces,
            "expected_version_id": row.version_id if row is not None and replaces else None,
        })  # fmt: skip
        seen.add(one.id)
    return out


async def take(deps: Deps, principal: Principal, sent: Sent) -> list[Wire]:
    """Takes in what was sent as it was decided: each skill whole or not at all. Raises BadRequest, TooLarge."""
    try:
        decisions = _decisions.validate_json(sent.decisions or "")
    except ValidationError:
        raise BadRequest(UNFIT) from None
    packages = await asyncio.to_thread(skill_packages.read, sent.uploads)
    if len(decisions) != len(packages):
        raise BadRequest(UNFIT)
    return [await _take(deps, principal, *both) for both in zip(packages, decisions, strict=True)]


async def _take(deps: Deps, principal: Principal, package: Package, decision: Decision) -> Wire:
    if decision.action == "skip":
        return {"id": decision.id, "status": "skipped"}
    try:
        await _save(deps, principal, package, decision)
    except OuiError as error:
        return {"id": decision.id, "status": "error", "error": error.detail}
    return {"id": decision.id, "status": "saved"}


async def _save(deps: Deps, principal: Principal, package: Package, decision: Decision) -> None:
    told = {"name": decision.name, "description": package.description, "meta": package.meta}
    async with deps.database.write() as unit:
        if decision.action == "replace":
            row = await kept.writable(unit.connection, principal, decision.id)
            kept.check_version(row, decision.expected_version_id)
            await kept.replace(unit.connection, principal, row, told, package.files)
        else:
            values = told | {"is_active": package.is_active}
            await kept.insert(unit.connection, deps.config, principal, decision.id, values, package.files)


# From the web


async def fetch(deps: Deps, url: str) -> list[Wire]:
    """The skills at an address of the web, as an export has them. One of GitHub's pages means the file on it.

    Raises BadRequest, TooLarge.
    """
    raw = raw_url(url)
    local = deps.settings.enable_rag_local_web_fetch
    try:
        page = await guarded_http.fetch(raw, limit=MAX_UPLOAD, timeout=FETCH_SECONDS, allow_local=local)
    except guarded_http.Unreachable as error:
        log.info("a skill could not be fetched", why=str(error))
        raise BadRequest(NOT_FETCHED.format(error)) from None
    packages = await asyncio.to_thread(skill_packages.read, [(_name(raw, page.body), page.body)])
    return [
        _exported(one, {path: file.data or b"" for path, file in one.files.items()}, is_active=one.is_active)
        for one in packages
    ]


def _name(url: str, body: bytes) -> str:
    """What a file from an address is called, with the ending that fits what is in it."""
    parts = [part.rpartition(".")[0] or part for part in urlsplit(url).path.split("/") if part]
    plain = (part for part in reversed(parts) if part.lower() not in {"skill", "readme", "main"})
    beginning, is_text = body[:4], urlsplit(url).path.lower().endswith((".md", ".markdown"))
    # A text in Markdown may begin with a link.
    is_json = not is_text and beginning.lstrip()[:1] in {b"[", b"{"}
    ending = "zip" if beginning == b"PK\x03\x04" else "json" if is_json else "md"
    return f"{next(plain, 'skill')[:100]}.{ending}"


def raw_url(url: str) -> str:
    """Where the file itself lies: GitHub's page of a folder means the SKILL.md in it."""
    raw = plugins.raw_url(url)
    if raw.startswith(_RAW) and "/tree/" in url:
        return raw.removesuffix("main.py") + skill_files.MAIN
    return raw


# Out


async def exported(
    deps: Deps, principal: Principal, ids: Collection[str] | None, version_id: str | None, kind: str
) -> list[Wire] | bytes:
    """Skills that somebody may use, all or some of them: as JSON, or as the bytes of an archive.

    Raises Forbidden, NotFound, BadRequest, TooLarge.
    """
    if not principal.may("workspace.skills_export"):
        raise Forbidden(NO_EXPORT, status=403)
    if kind not in FORMATS:
        raise BadRequest(f"Skills are exported as one of these: {', '.join(FORMATS)}.")
    if version_id is not None and (ids is None or len(ids) != 1):
        raise BadRequest("A version is one of a single skill: name it in `ids`.")
    rows, contents = await _held(deps, principal, ids, version_id)
    if kind == "json":
        return [_exported(row, files, is_active=row.is_active) for row, files in zip(rows, contents, strict=True)]
    named = {row.id: _portable(row, files) for row, files in zip(rows, contents, strict=True)}
    return await asyncio.to_thread(skill_packages.write, named)


async def _held(
    deps: Deps, principal: Principal, ids: Collection[str] | None, version_id: str | None
) -> tuple[list[Skill], list[dict[str, bytes]]]:
    """The skills that are asked for, and what stands in their files: in portions, so that no more is read than is given out."""
    rows: list[Skill] = []
    contents: list[dict[str, bytes]] = []
    left = MAX_EXPORT
    async with deps.database.read() as connection:
        wanted = await skills.readable_ids(connection, principal, ids)
        if ids is not None and set(ids) != set(wanted):
            raise NotFound(kept.UNKNOWN)
        for first in range(0, len(wanted), _PORTION):
            portion = await skills.readable(connection, principal, wanted[first : first + _PORTION])
            if version_id is not None:
                portion = [await _as_of(connection, principal, row, version_id) for row in portion]
            entries = {row.id: skill_files.stored(row.content, row.files) for row in portion}
            left -= sum(one.size for of_one in entries.values() for one in of_one.values())
            if left < 0:
                raise TooLarge(f"These skills have more than {MAX_EXPORT // 2**20} MB. Export fewer at once.")
            held = await kept.contents_of(connection, entries)
            rows += portion
            contents += [held[row.id] for row in portion]
    return rows, contents


async def _as_of(connection: AsyncConnection, principal: Principal, row: Skill, version_id: str) -> Skill:
    """A skill as one of its versions had it."""
    _, version = await skill_versions.held(connection, principal, row.id, version_id)
    told = {name: version.snapshot[name] for name in kept.TOLD if name in version.snapshot}
    return msgspec.structs.replace(row, **told)


def _exported(one: Skill | Package, files: dict[str, bytes], *, is_active: bool) -> Wire:
    return {
        "id": one.id,
        "name": one.name,
        "description": one.description,
        "meta": one.meta,
        "files": [skill_files.shown(path, data) for path, data in files.items()],
        "is_active": is_active,
    }


def _portable(row: Skill, files: dict[str, bytes]) -> dict[str, bytes]:
    """The files for an archive: SKILL.md says there what the skill is called."""
    text = skill_files.with_front_matter(row.content, row.name, row.description)
    return files | {skill_files.MAIN: text.encode()}


def file_name(ids: Sequence[str] | None, kind: str) -> str:
    """What an archive is called where it is saved."""
    return f"{ids[0] if ids and len(ids) == 1 else 'skills'}.{kind}"
