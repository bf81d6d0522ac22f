"""The page about one's own use: counts by day, week and in all, from rows that the database counted."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from open_webui.errors import BadRequest
from open_webui.internal.db import Database
from open_webui.models import activity
from open_webui.models.base import now
from open_webui.models.usages import DAY

DEFAULT_DAYS, LEAST_DAYS, MOST_DAYS = 730, 7, 732
_EPOCH = dt.date(1970, 1, 1).toordinal()


class ActivityEntry(msgspec.Struct):
    """What happened on a day, in a week, or until a day. models: messages by model."""

    date: str
    messages: int = 0
    chats: int = 0
    tokens: int = 0
    models: dict[str, int] = msgspec.field(default_factory=dict)

    def add(self, other: "ActivityEntry") -> None:
        self.messages += other.messages
        self.chats += other.chats
        self.tokens += other.tokens
        for model, count in other.models.items():
            self.models[model] = self.models.get(model, 0) + count


class ModelUse(msgspec.Struct):
    model_id: str
    messages: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0


class Period(msgspec.Struct, frozen=True):
    """Seconds since the epoch; both days count."""

    start_date: int
    end_date: int
    days: int

    @property
    def first(self) -> int:
        return self.start_date // DAY

    @property
    def last(self) -> int:
        return self.end_date // DAY


def period(days: int | None, start: int | None, end: int | None) -> Period:
    """The asked time: given ends, else so many days up to now. Raises BadRequest for one that is no time or too long."""
    until = now() if end is None else end
    since = until - ((days or DEFAULT_DAYS) - 1) * DAY if start is None else start
    count = until // DAY - since // DAY + 1
    if since < 0 or count < 1 or count > MOST_DAYS + 1:
        raise BadRequest(f"The time must be of 1 to {MOST_DAYS} days.")
    return Period(since, until, count if days is None else days)


async def report(database: Database, user_id: str, asked: Period) -> dict[str, Any]:
    """The wire's report. Days are those of UTC."""
    since, until = asked.start_date, asked.end_date
    async with database.read() as connection:
        messages = await activity.messages(connection, user_id, since, until)
        chats = await activity.chats(connection, user_id, since, until)
        tokens = await activity.tokens(connection, user_id, since, until)
        longest = await activity.longest_chat(connection, user_id, since, until)
    days = _days(asked, messages, chats, tokens)
    models = _models(messages, tokens)
    totals = _totals(days, messages, tokens) | {"longest_chat_seconds": longest, "models_used": len(models)}
    return {
        "totals": totals,
        "heatmap": days,
        "weekly_heatmap": _weeks(days),
        "cumulative_heatmap": _cumulative(days),
        "insights": _insights(totals, models),
        "top_models": models[:10],
        # Tools come later; nothing records their calls yet.
        "top_tools": [],
        "period": asked,
    }


def _date(day: int) -> str:
    return dt.date.fromordinal(day + _EPOCH).isoformat()


def _days(
    asked: Period,
    messages: Iterable[activity.Messages],
    chats: Mapping[int, int],
    tokens: Iterable[activity.TokenCounts],
) -> list[ActivityEntry]:
    days = {day: ActivityEntry(_date(day), chats=chats.get(day, 0)) for day in range(asked.first, asked.last + 1)}
    for row in messages:
        model = {row.model_id: row.count} if row.model_id and row.role == "assistant" else {}
        days[row.day].add(ActivityEntry("", messages=row.count, models=model))
    for used in tokens:
        days[used.day].tokens += used.input + used.output
    return list(days.values())


def _weeks(days: Iterable[ActivityEntry]) -> list[ActivityEntry]:
    """Summed by week, each with the date of its Monday."""
    weeks: dict[str, ActivityEntry] = {}
    for day in days:
        date = dt.date.fromisoformat(day.date)
        monday = (date - dt.timedelta(days=date.weekday())).isoformat()
        weeks.setdefault(monday, ActivityEntry(monday)).add(day)
    return list(weeks.values())


def _cumulative(days: Iterable[ActivityEntry]) -> list[ActivityEntry]:
    sum_, out = ActivityEntry(""), []
    for day in days:
        sum_.add(day)
        out.append(ActivityEntry(day.date, sum_.messages, sum_.chats, sum_.tokens, dict(sum_.models)))
    return out


def _models(messages: Iterable[activity.Messages], tokens: Iterable[activity.TokenCounts]) -> list[ModelUse]:
    """Each used model, the most used first."""
    models: dict[str, ModelUse] = {}
    for row in messages:
        if row.model_id and row.role == "assistant":
            models.setdefault(row.model_id, ModelUse(row.model_id)).messages += row.count
    for used in tokens:
        model = models.setdefault(used.model_id, ModelUse(used.model_id))
        model.input_tokens += used.input
        model.output_tokens += used.output
        model.total_tokens += used.input + used.output
    return sorted(models.values(), key=lambda m: (-m.messages, -m.total_tokens, m.model_id))


def _totals(
    days: list[ActivityEntry], messages: list[activity.Messages], tokens: list[activity.TokenCounts]
) -> dict[str, Any]:
    active = [day.messages > 0 or day.tokens > 0 for day in days]
    current, longest = _streaks(active)
    given, answered = sum(t.input for t in tokens), sum(t.output for t in tokens)
    return {
        "lifetime_tokens": given + answered,
        "input_tokens": given,
        "output_tokens": answered,
        "peak_daily_tokens": max(day.tokens for day in days),
        "current_streak": current,
        "longest_streak": longest,
        "total_chats": sum(day.chats for day in days),
        "active_days": sum(active),
        "messages": sum(m.count for m in messages),
        "user_messages": sum(m.count for m in messages if m.role == "user"),
        "assistant_messages": sum(m.count for m in messages if m.role == "assistant"),
    }


def _streaks(active: list[bool]) -> tuple[int, int]:
    """Days in a row up to the last (a last day that has only begun does not break it), and the most there were."""
    run = longest = current = 0
    for index, day in enumerate(active):
        run = run + 1 if day else 0
        longest = max(longest, run)
        if day or index < len(active) - 1:
            current = run
    return current, longest


def _insights(totals: Mapping[str, Any], models: list[ModelUse]) -> dict[str, Any]:
    def rate(part: int, whole: int) -> float:
        return round(part / whole, 1) if whole else 0.0

    return {
        "most_used_model": models[0].model_id if models else None,
        "average_tokens_per_chat": rate(totals["lifetime_tokens"], totals["total_chats"]),
        "average_messages_per_active_day": rate(totals["messages"], totals["active_days"]),
        "user_message_share": rate(totals["user_messages"] * 100, totals["messages"]),
        "assistant_message_share": rate(totals["assistant_messages"] * 100, totals["messages"]),
    }
