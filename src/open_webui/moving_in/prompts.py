"""Prompts, with their versions."""

from typing import Any, Final

from open_webui.constants import MAX_NAME
from open_webui.errors import BadRequest
from open_webui.models import grants, moved
from open_webui.models import prompts as kept
from open_webui.moving_in.move import Move, Part
from open_webui.moving_in.rows import Left, Row, objects
from open_webui.moving_in.workspace import BAD_VERSION, Made, history, parsed, store_versions, version
from open_webui.principal import Principal
from open_webui.schemas.prompts import PromptForm
from open_webui.services import prompts as service

_NAMES: Final = ("name", "content", "command", "data", "meta", "tags")


def _values(given: dict[str, Any]) -> dict[str, Any]:
    """Raises Left, BadRequest."""
    form = parsed(PromptForm, {name: value for name, value in given.items() if value is not None})
    values = {"command": service.checked(form.command), "name": form.name, "content": form.content}
    return values | {"data": form.data or {}, "meta": form.meta or {}, "tags": form.tags or []}


async def prompt(move: Move, row: Row) -> Made:
    prompt_id, owner = row.need_id(), move.owner(row)
    given = {name: row.text(name, 200_000) for name in ("command", "content")} | {"name": row.text("name", MAX_NAME)}
    values = _values(given | {"data": row.object("data"), "meta": row.object("meta"), "tags": row.list("tags")})
    everybodys = Principal(id="", role="admin", name="", email="")
    async with move.database.read() as connection:
        same = await kept.by_command(connection, everybodys, values["command"])
    if same is not None:
        raise Left("another prompt here has its command")
    own: dict[str, Any] = {"id": prompt_id, "user_id": owner, "version_id": row.id("version_id")}
    own["is_active"] = row.flag("is_active", default=True)
    given_to = await move.grants("prompt", row, prompt_id)
    made = Made(values | own | row.times(move.at), values | {"access_grants": []}, given_to)
    for one, snapshot in await history(move, row, "prompt"):
        try:
            told = {name: snapshot.get(name) for name in _NAMES}
            told |= {name: objects(told[name]) for name in ("data", "meta")}
            held = _values(told | {"command": told["command"] or values["command"]})
            made.versions.append(version(move, "prompt", prompt_id, one, held | {"access_grants": []}))
        except (Left, BadRequest):
            row.mended.append(BAD_VERSION)
    return made


async def store_prompt(move: Move, made: Made) -> bool:
    async with move.database.write() as unit:
        connection = unit.connection
        if not await moved.insert(connection, "prompt", made.values):
            return False
        version_id = await store_versions(connection, "prompt", made)
        await kept.repository.change(connection, made.values["id"], {"version_id": version_id}, touch=False)
        await grants.replace(connection, "prompt", made.values["id"], made.given)
    return True


PROMPTS: Final = Part("prompt", "prompt", ("id", "user_id", "command", "content"), prompt, store_prompt)
