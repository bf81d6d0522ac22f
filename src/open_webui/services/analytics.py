"""What all people did, for administrators: figures that the database counted, laid out as the wire has them. Times are of UTC."""

from typing import Any, Final, Literal

from open_webui.errors import BadRequest, Forbidden
from open_webui.internal.db import Database
from open_webui.models import analytics
from open_webui.models.analytics import LAST, Metric, Span
from open_webui.models.base import now
from open_webui.models.messages import MessageRow
from open_webui.models.usages import DAY
from open_webui.services import leaderboard
from open_webui.services.dates import date_of, iso, time_of, today
from open_webui.services.deps import Deps

Granularity = Literal["10m", "hourly", "3h", "6h", "daily"]
STEPS: Final[dict[str, int]] = {"10m": 600, "hourly": 3_600, "3h": 10_800, "6h": 21_600, "daily": DAY}
# Steps that one reply has, and pairs of step and model that it is made of.
MAX_STEPS: Final = 10_000
MAX_ROWS: Final = 200_000
TOO_FINE: Final = f"That is more than {MAX_STEPS:,} steps. Choose a shorter time, or longer steps."
Wire = dict[str, Any]


def check_on(deps: Deps) -> None:
    """Raises Forbidden where the operator has switched analytics off."""
    if not deps.settings.enable_admin_analytics:
        raise Forbidden("Analytics are switched off on this server (ENABLE_ADMIN_ANALYTICS).", status=403)


def span(start: int | None, end: int | None, group_id: str | None = None) -> Span:
    """The asked time. Raises BadRequest for one that ends before it begins."""
    asked = Span(start=start or 0, end=LAST if end is None else end, group_id=group_id or None)
    if asked.start > asked.end:
        raise BadRequest("The time ends before it begins.")
    return asked


async def models(database: Database, asked: Span) -> Wire:
    """Answers by model."""
    async with database.look() as connection:
        return {"models": await analytics.models(connection, asked)}


async def summary(database: Database, asked: Span) -> analytics.Totals:
    async with database.look() as connection:
        return await analytics.totals(connection, asked)


async def users(database: Database, asked: Span, metric: Metric, limit: int) -> Wire:
    """The busiest people, with their messages and tokens: by messages, or by tokens, where only answers are counted."""
    async with database.read() as connection:
        if metric == "messages":
            people = await analytics.people(connection, asked, limit, answers=False)
            used = await analytics.tokens(connection, asked, "user_id", limit, [one.user_id for one in people])
            names = {one.user_id: (one.name, one.email) for one in people}
        else:
            used = await analytics.tokens(connection, asked, "user_id", limit)
            ids = [one.key for one in used]
            people = await analytics.people(connection, asked, limit, answers=True, wanted=ids)
            names = {one.user_id: (one.name, one.email) for one in people}
            names |= await analytics.names(connection, [one for one in ids if one not in names])
    counts = {one.user_id: one.count for one in people}
    tokens = {one.key: (one.input, one.output) for one in used}
    rows: list[Wire] = []
    for user_id in dict.fromkeys([*tokens, *counts] if metric == "tokens" else counts):
        given, said = tokens.get(user_id, (0, 0))
        name, email = names.get(user_id, (None, None))
        row = {"user_id": user_id, "name": name, "email": email, "count": counts.get(user_id, 0)}
        rows.append(row | {"input_tokens": given, "output_tokens": said, "total_tokens": given + said})
    by = "total_tokens" if metric == "tokens" else "count"
    return {"users": sorted(rows, key=lambda row: (-row[by], -row["count"], row["user_id"]))[:limit]}


async def tokens(database: Database, asked: Span) -> Wire:
    """Tokens by model, the most first, and in all."""
    async with database.read() as connection:
        used = await analytics.tokens(connection, asked, "model_id", analytics.MAX_MODELS)
        counted = await analytics.models(connection, asked)
    counts = {one.model_id: one.count for one in counted}
    sums = {one.key: (one.input, one.output) for one in used}
    rows: list[Wire] = []
    for model_id in dict.fromkeys([*sums, *counts]):
        given, said = sums.get(model_id, (0, 0))
        row = {"model_id": model_id, "input_tokens": given, "output_tokens": said, "total_tokens": given + said}
        rows.append(row | {"message_count": counts.get(model_id, 0)})
    given, said = (sum(pair[k] for pair in sums.values()) for k in (0, 1))
    return {
        "models": sorted(rows, key=lambda row: (-row["total_tokens"], row["model_id"])),
        "total_input_tokens": given,
        "total_output_tokens": said,
        "total_tokens": given + said,
    }


async def timeline(database: Database, asked: Span, granularity: Granularity, metric: Metric, *, compare: bool) -> Wire:
    """Answers or tokens by time and model. Where a beginning is given, all steps up to the end are there, empty ones too.

    compare: beside each step, what was in the same step of the time of the same length before. Raises BadRequest for more
    steps than one reply has.
    """
    step = STEPS[granularity]
    end = min(asked.end, now()) if asked.end == LAST else asked.end
    first, last = asked.start // step * step, end // step * step
    bounded = asked.start > 0
    count = (last - first) // step + 1
    if bounded and count > MAX_STEPS:
        raise BadRequest(TOO_FINE)
    found = await _steps(database, asked, step, metric)
    if not bounded and len(found) > MAX_STEPS:
        raise BadRequest(TOO_FINE)
    times = range(first, last + 1, step) if bounded else sorted(found)
    before: dict[int, dict[str, int]] = {}
    shift = count * step
    if compare and bounded:
        earlier = Span(start=max(first - shift, 0), end=first - 1, group_id=asked.group_id)
        before = await _steps(database, earlier, step, metric)
    data = []
    for at in times:
        entry: Wire = {"date": date_of(at // DAY) if step == DAY else time_of(at), "models": found.get(at, {})}
        if compare:
            entry |= {"start": iso(at), "end": iso(at + step)}
            entry["previous"] = _previous(before, at - shift, step) if bounded else None
        else:
            entry |= {"start": None, "end": None, "previous": None}
        data.append(entry)
    return {"data": data}


def _previous(found: dict[int, dict[str, int]], at: int, step: int) -> Wire:
    return {"models": found.get(at, {}), "start": iso(max(at, 0)), "end": iso(max(at + step, 0))}


async def _steps(database: Database, asked: Span, step: int, metric: Metric) -> dict[int, dict[str, int]]:
    async with database.look() as connection:
        count = analytics.by_time if metric == "messages" else analytics.tokens_by_time
        rows = await count(connection, asked, step, MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        raise BadRequest(TOO_FINE)
    out: dict[int, dict[str, int]] = {}
    for at, model_id, number in rows:
        out.setdefault(at, {})[model_id] = number
    return out


async def chats(deps: Deps, model_id: str, asked: Span, *, offset: int, limit: int, sort: str, direction: str) -> Wire:
    """The chats in which a model answered. What they are called is told where administrators may see people's chats."""
    async with deps.database.read() as connection:
        found, total = await analytics.chats_of(
            connection, model_id, asked, offset=offset, limit=limit, sort=sort, ascending=direction.lower() == "asc"
        )
    shown = deps.settings.enable_admin_chat_access
    return {"chats": [row if shown else _untitled(row) for row in found], "total": total}


def _untitled(row: analytics.ModelChat) -> analytics.ModelChat:
    return analytics.ModelChat(row.chat_id, row.user_id, row.user_name, None, row.updated_at)


async def overview(database: Database, model_id: str, days: int) -> Wire:
    """How a model was rated on each day, today and so many before (0: all), and the tags of chats in which it answered then."""
    history = await leaderboard.history(database, model_id, days + 1 if days else 0)
    asked = Span(start=(today() - days) * DAY if days else analytics.FIRST)
    async with database.look() as connection:
        tags = await analytics.tags_of(connection, model_id, asked)
    return {"history": history, "tags": [{"tag": tag, "count": count} for tag, count in tags]}


async def messages(
    deps: Deps, asked: Span, *, model_id: str | None, user_id: str | None, chat_id: str | None, offset: int, limit: int
) -> list[Wire]:
    """Messages of a model, a person or a chat, the newest first; none where none of these is said.

    Raises Forbidden where administrators may not see what people write.
    """
    if not deps.settings.enable_admin_chat_access:
        raise Forbidden
    if model_id is None and user_id is None and chat_id is None:
        return []
    async with deps.database.read() as connection:
        found = await analytics.rows(
            connection, asked, model_id=model_id, user_id=user_id, chat_id=chat_id, offset=offset, limit=limit
        )
    return [_message(row, owner) for row, owner in found]


def _message(row: MessageRow, owner: str) -> Wire:
    """A message as a row of the wire's own table."""
    body = row.body
    wrote = body.get("user_id")
    lists = {
        name: value for name in ("output", "files", "sources", "embeds") if isinstance(value := body.get(name), list)
    }
    statuses, usage, meta, error = (body.get(name) for name in ("statusHistory", "usage", "meta", "error"))
    return {
        "id": f"{row.chat_id}-{row.id}",
        "chat_id": row.chat_id,
        "user_id": wrote if isinstance(wrote, str) else owner,
        "role": row.role,
        "parent_id": row.parent_id,
        "content": row.content,
        "output": lists.get("output"),
        "model_id": row.model_id,
        "files": lists.get("files"),
        "sources": lists.get("sources"),
        "embeds": lists.get("embeds"),
        "meta": meta if isinstance(meta, dict) else None,
        "done": row.done,
        "status_history": statuses if isinstance(statuses, list) else None,
        "error": error if isinstance(error, dict | str) else None,
        "usage": usage if isinstance(usage, dict) else None,
        "context_summary": None,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
