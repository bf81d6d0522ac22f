"""What people make for others to use: models, tools, functions and skills, with their versions and what is set of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from open_webui.constants import MAX_NAME
from open_webui.errors import BadRequest
from open_webui.models import file_uses, files, functions, grants, models, moved, skills, tools, versions
from open_webui.models.grants import GrantTriple
from open_webui.moving_in.move import Move, Part
from open_webui.moving_in.rows import Left, Row, objects
from open_webui.plugins.text import MAX_CONTENT, PluginText
from open_webui.schemas.models import ModelForm
from open_webui.schemas.plugins import MAX_VALVES, PluginForm
from open_webui.schemas.skills import Described, SkillForm
from open_webui.services import attached, plugins, skill_files
from open_webui.services import functions as function_service
from open_webui.services import skills as skill_service
from open_webui.services import tools as tool_service
from open_webui.services.skill_files import MAIN, Entries

# Characters of what a model says of itself, its pictures included.
_MAX_MODEL: Final = 60_000_000
NO_VALVES: Final = "what was set of it is encrypted there, or damaged: set it anew"
BAD_VALVES: Final = "what was set of it does not fit its text: set it anew"
BAD_VERSION: Final = "some of its versions could not be read and are left out"


@dataclass
class Version:
    """One that is going to be stored: its row without the snapshot, and that."""

    row: dict[str, Any]
    snapshot: dict[str, Any]


@dataclass
class Made:
    """A thing that is going to be stored. now: what a version of it would hold. contents: of a skill's files."""

    values: dict[str, Any]
    now: dict[str, Any]
    given: list[GrantTriple] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    pictures: list[files.NewFile] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)


def parsed(form: Any, given: Mapping[str, Any]) -> Any:
    """What a form takes. Raises Left with what is wrong."""
    try:
        return form.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise Left(f"its {'.'.join(str(part) for part in problem['loc'])} can't be kept: {problem['msg']}") from None


async def history(move: Move, row: Row, kind: str) -> list[tuple[Row, dict[str, Any]]]:
    """The newest versions that a thing has, the oldest first, with what each holds."""
    table, column, most = f"{kind}_history", f"{kind}_id", 10 * versions.KEPT
    found = await move.source.select(table, column, [row.need_id()], limit=most, newest="created_at")
    newest = sorted(found, key=lambda one: one.number("created_at") or 0)[-versions.KEPT :]
    out = []
    for one in newest:
        snapshot = one.object("snapshot", _MAX_MODEL)
        if snapshot is None or one.id() is None:
            row.mended.append(BAD_VERSION)
        else:
            out.append((one, snapshot))
    return out


def version(move: Move, kind: str, thing_id: str, row: Row, snapshot: dict[str, Any]) -> Version:
    """One of a thing's versions as it is going to be stored."""
    made = row.seconds("created_at")
    return Version(
        {
            "id": row.need_id(),
            "kind": kind,
            "resource_id": thing_id,
            "parent_id": row.id("parent_id"),
            "user_id": move.people.get(row.id("user_id") or ""),
            "commit_message": row.text("commit_message", 1_000),
            "created_at": move.at if made is None else made,
        },
        snapshot,
    )


async def store_versions(connection: Any, kind: str, made: Made) -> str:
    """Keeps the versions that came, and gives the id of the one that the thing is now."""
    kept: set[str] = set()
    for one in made.versions:
        if await moved.insert(connection, "version", one.row | {"snapshot": one.snapshot}):
            kept.add(one.row["id"])
    current = made.values.get("version_id")
    if current in kept:
        return str(current)
    return await versions.add(connection, kind, made.values["id"], made.now, user_id=made.values["user_id"])


# Models


async def model(move: Move, row: Row) -> Made:
    model_id, owner = row.need_id(), move.owner_or_admin(row)
    found = await history(move, row, "model")
    told = {name: row.object(name, _MAX_MODEL) for name in ("meta", "params")}
    document, pictures = await move.without_pictures(owner, [told, [snapshot for _, snapshot in found]])
    told, snapshots = document
    said = {"id": model_id, "name": row.text("name", MAX_NAME), "base_model_id": row.id("base_model_id")}
    form = parsed(ModelForm, said | {"meta": told["meta"] or {}, "params": told["params"] or {}})
    values = form.values() | {"is_active": row.flag("is_active", default=True)}
    _leave_out(move, row, values["meta"])
    given = await move.grants("model", row, model_id)
    own = {"id": model_id, "user_id": owner, "version_id": row.id("version_id")}
    made = Made(values | own | row.times(move.at), _model_snapshot(values), given, pictures=pictures)
    for (one, _), snapshot in zip(found, snapshots, strict=True):
        try:
            named = parsed(ModelForm, said | {
                "name": snapshot.get("name"), "base_model_id": snapshot.get("base_model_id"),
                "meta": objects(snapshot.get("meta")), "params": objects(snapshot.get("params")),
            })  # fmt: skip
            made.versions.append(version(move, "model", model_id, one, _model_snapshot(named.values())))
        except (Left, ValueError):
            row.mended.append(BAD_VERSION)
    return made


def _model_snapshot(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in ("name", "base_model_id", "params", "meta")}


def _leave_out(move: Move, row: Row, meta: dict[str, Any]) -> None:
    """Files and knowledge bases stay with a model if they came along: nobody here is named by a foreign row."""
    named = attached.ids_in(meta.get("knowledge"))
    gone = {one for kind, ids in named.items() for one in ids if not move.is_here(_KINDS[kind], one)}
    if gone:
        meta["knowledge"] = [one for one in meta["knowledge"] if not (isinstance(one, dict) and one.get("id") in gone)]
        row.mended.append("knowledge that it names did not come along")


_KINDS: Final = {"collection": "knowledge", "file": "file"}


async def store_model(move: Move, made: Made) -> bool:
    values = made.values
    async with move.database.write() as unit:
        connection = unit.connection
        await files.add(connection, values["user_id"], made.pictures)
        if not await moved.insert(connection, "model", values):
            return False
        version_id = await store_versions(connection, "model", made)
        await models.repository.change(connection, values["id"], {"version_id": version_id}, touch=False)
        used = [made.now, *(one.snapshot for one in made.versions)]
        await file_uses.link(connection, "model_id", values["id"], values["user_id"], used, new=True)
        await grants.replace(connection, "model", values["id"], made.given)
    return True


# Tools and functions


async def tool(move: Move, row: Row) -> Made:
    form, text = await _plugin(move, row, is_tool=True)
    values = tool_service.columns(form.name, form.content, plugins.told(form), text)
    own = {"id": form.id, "user_id": move.owner(row), "version_id": row.id("version_id")}
    sealed, _ = await _valves(move, row, "tool", form, text)
    made = Made(values | own | {"valves": sealed} | row.times(move.at), _plugin_snapshot(values))
    made.given = await move.grants("tool", row, form.id)
    await _add_versions(move, row, "tool", made)
    return made


async def function(move: Move, row: Row) -> Made:
    form, text = await _plugin(move, row, is_tool=False)
    values = function_service.columns(form.name, form.content, plugins.told(form), text)
    sealed, set_of_it = await _valves(move, row, "function", form, text)
    is_active = row.flag("is_active")
    if is_active and not move.trusted:
        move.report.note(f"The function {form.id} was switched on there and is switched off here.")
    own = {
        "id": form.id,
        "user_id": move.people.get(row.id("user_id") or ""),
        "version_id": row.id("version_id"),
        "valves": sealed,
        "priority": function_service.priority_of(text, set_of_it),
        "is_active": is_active and move.trusted,
        "is_global": row.flag("is_global") and move.trusted,
    }
    made = Made(values | own | row.times(move.at), _plugin_snapshot(values))
    await _add_versions(move, row, "function", made)
    return made


async def _plugin(move: Move, row: Row, *, is_tool: bool) -> tuple[PluginForm, PluginText]:
    content = row.raw("content") or ""
    if len(content) > MAX_CONTENT:
        raise Left(f"its text has more than {MAX_CONTENT:,} characters")
    given = {"id": row.need_id(), "name": row.text("name", MAX_NAME), "content": content.replace("\x00", "")}
    form = parsed(PluginForm, given | {"meta": row.object("meta") or {}})
    plugins.check_id(form.id)
    return form, await plugins.read(move, form.content, tool=is_tool)


def _plugin_snapshot(values: Mapping[str, Any]) -> dict[str, Any]:
    return plugins.snapshot(values["name"], values["content"], values["meta"])


async def _valves(
    move: Move, row: Row, kind: str, form: PluginForm, text: PluginText
) -> tuple[str | None, dict[str, Any]]:
    """What is set of a plugin, sealed for this server, and as it is; what can't be taken is noted."""
    stored = (row.raw("valves") or "").strip()
    if stored in {"", "null", "{}", '""'}:
        return None, {}
    try:
        values = msgspec.json.decode(stored)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        values = None
    if not isinstance(values, dict) or len(stored) > MAX_VALVES:
        row.mended.append(NO_VALVES)
        return None, {}
    if not text.members.has_valves:
        return None, {}
    try:
        checked = await move.sources.check(form.content, "Valves", values)
    except BadRequest:
        row.mended.append(BAD_VALVES)
        return None, {}
    return plugins.seal(move, kind, form.id, checked), checked


async def _add_versions(move: Move, row: Row, kind: str, made: Made) -> None:
    for one, snapshot in await history(move, row, kind):
        name, content = snapshot.get("name"), snapshot.get("content")
        if isinstance(name, str) and isinstance(content, str) and len(content) <= MAX_CONTENT:
            held = plugins.snapshot(name[:MAX_NAME], content, objects(snapshot.get("meta")))
            made.versions.append(version(move, kind, made.values["id"], one, held))
        else:
            row.mended.append(BAD_VERSION)


async def store_tool(move: Move, made: Made) -> bool:
    return await _store_plugin(move, "tool", tools.repository, made)


async def store_function(move: Move, made: Made) -> bool:
    return await _store_plugin(move, "function", functions.repository, made)


async def _store_plugin(move: Move, kind: str, repository: Any, made: Made) -> bool:
    async with move.database.write() as unit:
        connection = unit.connection
        if not await moved.insert(connection, kind, made.values):
            return False
        version_id = await store_versions(connection, kind, made)
        await repository.change(connection, made.values["id"], {"version_id": version_id}, touch=False)
        if kind == "tool":
            await grants.replace(connection, kind, made.values["id"], made.given)
    return True


# Skills


async def skill(move: Move, row: Row) -> Made:
    given: dict[str, Any] = {name: row.text(name, 2_000_000) for name in ("name", "description", "content")}
    given |= {"id": row.need_id(), "data": row.object("data", 40_000_000), "meta": row.object("meta") or {}}
    form = parsed(SkillForm, given)
    skill_service.check_id(form.id)
    if form.data is not None and not form.data.files:
        form.data = None
    entries = _entries(form)
    values = _skill_values(form, entries)
    own = {"id": form.id, "user_id": move.owner(row), "version_id": row.id("version_id")}
    own["is_active"] = row.flag("is_active", default=True)
    made = Made(values | own | row.times(move.at), values, await move.grants("skill", row, form.id))
    made.contents = _contents(entries)
    for one, snapshot in await history(move, row, "skill"):
        try:
            told = parsed(Described, snapshot | {"meta": objects(snapshot.get("meta"))})
            held = _entries(told)
            made.versions.append(version(move, "skill", form.id, one, _skill_values(told, held)))
            made.contents |= _contents(held)
        except (Left, BadRequest):
            row.mended.append(BAD_VERSION)
    return made


def _entries(form: Described) -> Entries:
    entries = skill_files.described(form)
    if entries is None:
        raise Left("it has no text")
    return entries


def _skill_values(form: Described, entries: Entries) -> dict[str, Any]:
    """What a version of a skill holds."""
    return {
        "name": form.name,
        "description": form.description,
        "meta": form.meta.model_dump(),
        "content": (entries[MAIN].data or b"").decode(),
        "files": skill_files.kept(entries),
    }


def _contents(entries: Entries) -> dict[str, bytes]:
    return {one.hash: one.data for path, one in entries.items() if path != MAIN and one.data is not None}


async def store_skill(move: Move, made: Made) -> bool:
    async with move.database.write() as unit:
        connection = unit.connection
        if not await moved.insert(connection, "skill", made.values):
            return False
        version_id = await store_versions(connection, "skill", made)
        await skills.keep(connection, made.values["id"], made.contents)
        await skills.repository.change(connection, made.values["id"], {"version_id": version_id}, touch=False)
        await grants.replace(connection, "skill", made.values["id"], made.given)
    return True


MODELS: Final = Part("model", "model", ("id", "name"), model, store_model, at_once=1, owned=False)
TOOLS: Final = Part("tool", "tool", ("id", "user_id", "content"), tool, store_tool, at_once=5)
FUNCTIONS: Final = Part("function", "function", ("id", "content"), function, store_function, at_once=5, owned=False)
SKILLS: Final = Part("skill", "skill", ("id", "user_id", "content"), skill, store_skill, at_once=5)
