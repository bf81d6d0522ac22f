"""Skills: read and searched, those that the person may use and that are switched on; made and changed where the person may."""

import re
from typing import Any, Final

from open_webui.errors import BadRequest, NotFound
from open_webui.models import skills
from open_webui.models.skills import Skill
from open_webui.schemas.skills import Operations, SkillForm
from open_webui.services import skill_files, skill_limits
from open_webui.services import skills as kept
from open_webui.services.builtin.row import Use, formed

# Lines that are found, and characters of each.
_MOST_LINES: Final = 200
_LONGEST_LINE: Final = 300
GONE: Final = "There is no such skill, or it is not one that may be used."
BINARY: Final = "This file is no text."


async def _skill(use: Use) -> Skill:
    skill_id = use.text("id", limit=300)
    async with use.deps.database.read() as connection:
        found = await skills.usable(connection, use.asked.principal, [skill_id])
    if not found:
        raise NotFound(GONE)
    return found[skill_id]


async def view(use: Use) -> dict[str, Any]:
    row = await _skill(use)
    files = skill_files.listed(skill_files.stored(row.content, row.files))
    told = {"id": row.id, "name": row.name, "description": row.description or ""}
    limits = skill_limits.reading(use.deps.config)
    count = limits.at_once if len(row.content) <= limits.at_once else limits.preview
    return told | _part(row.content, 0, count) | {"files": [{"path": f["path"], "size": f["size"]} for f in files]}


def _part(text: str, offset: int, count: int) -> dict[str, Any]:
    part = text[offset : offset + count]
    if offset == 0 and len(part) == len(text):
        return {"content": text}
    # read_skill_file reads on from there.
    ends = offset + len(part)
    return {"content": part, "total_chars": len(text), "next_offset": ends if ends < len(text) else None}


async def read(use: Use) -> dict[str, Any]:
    row, path = await _skill(use), use.text("path", limit=2 * skill_files.MAX_PATH)
    entries = skill_files.stored(row.content, row.files)
    if path not in entries:
        raise NotFound(skill_files.NO_SUCH_FILE)
    if entries[path].encoding is not None:
        raise BadRequest(BINARY)
    async with use.deps.database.read() as connection:
        held = await kept.files_with_contents(connection, row.id, {path: entries[path]})
    most = skill_limits.reading(use.deps.config).at_once
    count = use.number("max_chars", most, least=1, most=most)
    return {"path": path} | _part(held[path].decode(), use.number("offset", 0, most=2**31), count)


async def grep(use: Use) -> dict[str, Any]:
    row, pattern = await _skill(use), use.text("pattern", limit=500)
    ignore, most = use.flag("case_insensitive", default=True), use.number("max_results", 50, least=1, most=_MOST_LINES)
    below = use.arguments.get("path")
    below = below.strip("/") if isinstance(below, str) else ""
    # Plain texts: what a model writes as a pattern must not keep the server busy.
    wanted = [part.casefold() if ignore else part for part in pattern.split("|") if part]
    entries = {
        path: one
        for path, one in skill_files.stored(row.content, row.files).items()
        if one.encoding is None and (not below or path == below or path.startswith(f"{below}/"))
    }
    async with use.deps.database.read() as connection:
        held = await kept.files_with_contents(connection, row.id, entries)
    lines: list[dict[str, Any]] = []
    count = 0
    for path, data in held.items():
        for n, line in enumerate(data.decode().splitlines(), 1):
            if any(part in (line.casefold() if ignore else line) for part in wanted):
                count += 1
                if len(lines) < most:
                    lines.append({"path": path, "line": n, "text": re.sub(r"\s+", " ", line[:_LONGEST_LINE]).strip()})
    return {"count": count, "lines": lines}


async def create(use: Use) -> dict[str, Any]:
    fields = ("id", "name", "content", "files", "commit_message")
    form = formed(SkillForm, {name: use.arguments[name] for name in fields if use.arguments.get(name) is not None})
    made = await kept.create(use.deps, use.asked.principal, form)
    return {"id": made["id"], "name": made["name"], "version_id": made["version_id"]}


async def change(use: Use) -> dict[str, Any]:
    """Changes files, and nothing else of the skill."""
    skill_id = use.text("id", limit=300)
    given = formed(Operations, {name: use.arguments.get(name) for name in ("operations", "commit_message")})
    row = await kept.change_files(
        use.deps, use.asked.principal, skill_id, given.operations, message=given.commit_message
    )
    return {"id": row.id, "version_id": row.version_id, "files": list(skill_files.stored("", row.files))}
