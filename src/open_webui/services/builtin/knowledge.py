"""Knowledge bases and their files: listed, searched and read."""

import re
from collections.abc import Sequence
from typing import Any, Final

from open_webui.errors import BadRequest, NotFound
from open_webui.models import knowledge, knowledge_files
from open_webui.models.knowledge import Knowledge
from open_webui.models.repository import Query
from open_webui.models.scopes import Scope
from open_webui.retrieval.search import Found
from open_webui.services.builtin.row import Use
from open_webui.services.library import Whole, metadata

# Bases that are searched where none is named, and files that are looked through.
_MOST_BASES: Final = 100
_MOST_FILES: Final = 100
# Characters that are read for one call, and that it answers with.
_MOST_READ: Final = 4_000_000
_MOST_SHOWN: Final = 24_000
_MOST_LINES: Final = 50
_NO_FILE: Final = "There is no such file, it is not yours to read, or its text is not there."


async def _bases(use: Use, words: str | None = None) -> Sequence[Knowledge]:
    count, skip = use.number("count", 10, least=1), use.number("skip", 0, most=10_000)
    if not use.asked.is_own:
        return [base for base in await _with_model(use) if _fits(base, words)][skip : skip + count]
    query = Query(text=words, size=count + skip)
    async with use.deps.database.read() as connection:
        page = await knowledge.page(connection, use.asked.principal, query)
    return page.items[skip:]


async def _with_model(use: Use) -> list[Knowledge]:
    """The bases that come with the model and that the person may read: all that is shown in somebody else's chat."""
    principal = use.asked.principal
    async with use.deps.database.read() as connection:
        found = [await knowledge.repository.get_for(connection, principal, one) for one in use.brought[:_MOST_BASES]]
    return [base for base in found if base is not None]


def _fits(base: Knowledge, words: str | None) -> bool:
    return not words or words.casefold() in f"{base.name}\n{base.description}".casefold()


async def _check_file(use: Use, file_id: str) -> None:
    """Raises NotFound for a file that does not come with the model, in somebody else's chat."""
    if use.asked.is_own or file_id in use.brought:
        return
    if not await use.deps.library.bases_of({file_id}, use.brought):
        raise NotFound(_NO_FILE)


async def list_bases(use: Use) -> list[dict[str, Any]]:
    return [_base(base) for base in await _bases(use)]


async def search_bases(use: Use) -> list[dict[str, Any]]:
    return [_base(base) for base in await _bases(use, use.text("query"))]


def _base(base: Knowledge) -> dict[str, Any]:
    return {"id": base.id, "name": base.name, "description": base.description}


async def _all_ids(use: Use) -> tuple[str, ...]:
    """Those with the model, where there are any; else all that the person may read."""
    if use.brought or not use.asked.is_own:
        return use.brought
    async with use.deps.database.read() as connection:
        page = await knowledge.page(connection, use.asked.principal, Query(size=_MOST_BASES))
    return tuple(base.id for base in page.items)


async def _found(use: Use, ids: tuple[str, ...]) -> list[Found]:
    found = await use.deps.library.search(use.asked.principal, [use.text("query")], Scope(knowledge=ids))
    return found[: use.number("count", 5, least=1, most=30)]


async def query_bases(use: Use) -> list[dict[str, Any]]:
    ids = await _all_ids(use)
    library = use.deps.library
    found = await library.search(use.asked.principal, [use.text("query")], Scope(knowledge=ids))
    within = await library.bases_of({hit.file_id for hit in found if hit.file_id}, ids)
    order = dict.fromkeys(base for hit in found if hit.file_id for base in within.get(hit.file_id, ()))
    async with use.deps.database.read() as connection:
        rows = await knowledge.by_ids(connection, order)
    return [_base(rows[base]) for base in list(order)[: use.number("count", 5, least=1)] if base in rows]


async def query(use: Use) -> list[dict[str, Any]]:
    named = use.arguments.get("knowledge_ids")
    if named is not None and not (isinstance(named, list) and all(isinstance(i, str) for i in named)):
        raise BadRequest("'knowledge_ids' should be a list of ids.")
    ids = tuple(named[:_MOST_BASES]) if named else await _all_ids(use)
    if not use.asked.is_own:
        ids = tuple(one for one in ids if one in use.brought)
    found = await _found(use, ids) if ids else []
    return await tell(use, found)


async def tell(use: Use, found: Sequence[Found]) -> list[dict[str, Any]]:
    """Passages for the model, which are shown as the answer's sources, too: each says by which number it is cited."""
    out = []
    for hit in found:
        name = hit.url or hit.name
        meta = metadata(hit, hit.file_id or name, use.deps.config)
        entry = (
            {"type": "file", "id": hit.file_id, "name": hit.name} if hit.file_id else {"name": hit.name, "url": hit.url}
        )
        numbers = await use.progress.add_source(
            {"source": entry, "document": [hit.text], "metadata": [meta], "distances": [hit.score]}
        )
        told: dict[str, Any] = {"cite_as": f"[{numbers[0]}]" if numbers else None, "name": hit.name, "text": hit.text}
        if hit.file_id:
            told["file_id"] = hit.file_id
        if hit.page is not None:
            told["page"] = hit.page
        out.append(told)
    return out


async def search_files(use: Use) -> list[dict[str, Any]]:
    count, skip = use.number("count", 10, least=1), use.number("skip", 0, most=10_000)
    query = Query(text=use.text("query"), size=count + skip)
    within = use.arguments.get("knowledge_id")
    principal = use.asked.principal
    places: list[str | None] = [within if isinstance(within, str) and within else None]
    if not use.asked.is_own:
        bases = [base.id for base in await _with_model(use)]
        places = [one for one in bases if places == [None] or one in places]
    files: list[Any] = []
    async with use.deps.database.read() as connection:
        for place in places:
            if place is not None:
                await knowledge.repository.require(connection, principal, place)
                files += (await knowledge_files.page(connection, principal, place, query, ())).items
            else:
                files += (await knowledge_files.search(connection, principal, query)).items
    shown = files[skip : skip + count]
    return [{"id": one.id, "name": one.filename, "knowledge_id": one.knowledge_id} for one in shown]


async def view(use: Use) -> dict[str, Any]:
    file_id = use.text("file_id", limit=200)
    await _check_file(use, file_id)
    texts = await _texts(use, Scope(files=(file_id,)))
    if not texts:
        raise NotFound(_NO_FILE)
    whole = texts[0]
    most = use.number("max_chars", 10_000, least=1, most=_MOST_SHOWN)
    said: dict[str, Any] = {"id": file_id, "name": whole.name}
    if "start_line" in use.arguments or "end_line" in use.arguments:
        lines = whole.text.splitlines()
        first = use.number("start_line", 1, least=1, most=len(lines) or 1)
        last = use.number("end_line", len(lines), least=first, most=len(lines) or 1)
        content, at = lines[first - 1 : last], first
        said |= {"lines": len(lines)}
    else:
        offset = use.number("offset", 0, most=len(whole.text))
        content = whole.text[offset : offset + most].splitlines()
        at = whole.text.count("\n", 0, offset) + 1
        said |= {"offset": offset, "length": len(whole.text)}
    if use.flag("line_numbers"):
        content = [f"{n}: {line}" for n, line in enumerate(content, at)]
    return said | {"content": "\n".join(content)[:most]}


async def _texts(use: Use, scope: Scope) -> list[Whole]:
    return await use.deps.library.whole(use.asked.principal, scope, _MOST_READ)


async def grep(use: Use) -> Any:
    pattern = use.text("pattern", limit=500)
    file_id = use.arguments.get("file_id")
    ignore = use.flag("case_insensitive", default=True)
    # Plain texts: what a model writes as a pattern must not keep the server busy.
    wanted = [part.casefold() if ignore else part for part in pattern.split("|") if part]
    if isinstance(file_id, str) and file_id:
        await _check_file(use, file_id)
        scope = Scope(files=(file_id,))
    else:
        scope = Scope(knowledge=await _all_ids(use))
    hits: list[dict[str, Any]] = []
    count = 0
    for whole in (await _texts(use, scope))[:_MOST_FILES]:
        for n, line in enumerate(whole.text.splitlines(), 1):
            if any(part in (line.casefold() if ignore else line) for part in wanted):
                count += 1
                if len(hits) < _MOST_LINES:
                    hits.append({"file_id": whole.file_id, "name": whole.name, "line": n, "text": _shortened(line)})
    return {"count": count} if use.flag("count_only") else {"count": count, "lines": hits}


def _shortened(line: str) -> str:
    return re.sub(r"\s+", " ", line[:300]).strip()
