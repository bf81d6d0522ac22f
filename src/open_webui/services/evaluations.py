"""Ratings: people rate answers in chats that they may read, and administrators look at all of them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import BadRequest, Forbidden, NotFound, OuiError
from open_webui.models import chats, feedbacks, users
from open_webui.models.feedbacks import Feedback, repository
from open_webui.principal import Principal
from open_webui.schemas.documents import MAX_DEPTH, clean
from open_webui.schemas.evaluations import FeedbackForm
from open_webui.services.deps import Deps

# Bytes of JSON that are kept of a chat with a rating.
MAX_SNAPSHOT: Final = 1_000_000
MAX_RATINGS: Final = 10_000
NO_RATING: Final = "Ratings are switched off on this server."
TOO_MANY: Final = (
    f"You have rated {MAX_RATINGS:,} answers, and this server keeps no more of one person. Delete older ratings first."
)
# Bytes of all ratings of one person. Their chats take no more than the first number; then ratings are kept without them.
MAX_SNAPSHOTS: Final = 200_000_000
MAX_BYTES: Final = 250_000_000
TOO_LARGE: Final = f"Your ratings hold {MAX_BYTES // 1_000_000} MB, which is the most. Delete older ratings first."
# Chats that no server keeps.
TEMPORARY: Final = ("temporary:", "local:")
Wire = dict[str, Any]
_encode = msgspec.json.encode


def check_on(deps: Deps) -> None:
    """Raises Forbidden where ratings are switched off."""
    if not deps.config["ui.enable_message_rating"]:
        raise Forbidden(NO_RATING, status=403)


def may_see_chats(deps: Deps) -> bool:
    """Whether administrators get to see what people wrote."""
    return bool(deps.settings.enable_admin_chat_access)


async def create(deps: Deps, principal: Principal, form: FeedbackForm) -> Wire:
    """Keeps a rating. Raises NotFound for a chat that the caller may not read, BadRequest for one too many."""
    check_on(deps)
    await _check_chat(deps, principal, form.meta)
    kept = await asyncio.to_thread(snapshot_json, form)
    values = {"data": None, "meta": None, "version": 0} | form.values()
    async with deps.database.write() as unit:
        kept = await _room(unit.connection, principal, values, kept)
        row = await repository.create(unit.connection, principal.id, feedbacks.stamped(values))
        if row is None:
            raise NotFound
        await feedbacks.put_snapshot(unit.connection, row.id, kept)
    return wire(row, _raw(kept))


async def update(deps: Deps, principal: Principal, feedback_id: str, form: FeedbackForm) -> Wire:
    """Changes one's own rating; what is left out stays. Raises NotFound."""
    check_on(deps)
    await _check_chat(deps, principal, form.meta)
    kept = await asyncio.to_thread(snapshot_json, form)
    values = form.values()
    async with deps.database.write() as unit:
        connection = unit.connection
        # The person before the rating, as whoever removes the account: so none wait for each other in a ring.
        await users.lock(connection, [principal.id])
        stands = await repository.get_for(connection, principal, feedback_id, "write", lock=True)
        if stands is None:
            raise NotFound
        told = {"data": stands.data, "meta": stands.meta} | values
        before = await feedbacks.snapshot_of(connection, feedback_id)
        if kept is not None:
            kept = await _room(connection, principal, told, kept, stands)
        else:
            await _room(connection, principal, told, None, stands)
        if kept is None and before is not None:
            # What was kept stays.
            told["size"] += len(before.encode())
        await repository.change(connection, feedback_id, feedbacks.stamped(told))
        if kept is not None:
            await feedbacks.put_snapshot(connection, feedback_id, kept)
        row = await repository.get(connection, feedback_id)
    if row is None:
        raise NotFound
    return wire(row, await asyncio.to_thread(feedbacks.as_json, before) if kept is None else _raw(kept))


async def _room(
    connection: AsyncConnection, principal: Principal, values: Wire, kept: bytes | None, stands: Feedback | None = None
) -> bytes | None:
    """What is kept of a chat with a rating: it, or nothing where the person's ratings hold so much of chats already.

    Notes the size of all. stands: the rating that is changed. Raises BadRequest for one too many.
    """
    await users.lock(connection, [principal.id])
    count, held = await feedbacks.held_by(connection, principal.id, stands.id if stands else "")
    size = sum(len(_encode(values[name])) for name in ("data", "meta") if values.get(name) is not None)
    if stands is None and count >= MAX_RATINGS:
        raise BadRequest(TOO_MANY)
    if held + size > MAX_BYTES:
        raise BadRequest(TOO_LARGE)
    if kept is not None and held + size + len(kept) > MAX_SNAPSHOTS:
        kept = None
    values["size"] = size + len(kept or b"")
    return kept


def _raw(kept: bytes | None) -> msgspec.Raw | None:
    return None if kept is None else msgspec.Raw(kept)


async def get(deps: Deps, principal: Principal, feedback_id: str) -> Wire:
    """A rating with the chat as it was: one's own, or for an administrator anybody's. Raises NotFound."""
    async with deps.database.read() as connection:
        row = await repository.get_for(connection, principal, feedback_id)
        if row is None:
            raise NotFound
        shown = row.user_id == principal.id or may_see_chats(deps)
        text = await feedbacks.snapshot_of(connection, feedback_id) if shown else None
    return wire(row, await asyncio.to_thread(feedbacks.as_json, text) if text else None)


async def delete(deps: Deps, principal: Principal, feedback_id: str) -> bool:
    """Removes one's own rating, or for an administrator anybody's. Raises NotFound."""
    async with deps.database.write() as unit:
        if await repository.get_for(unit.connection, principal, feedback_id, lock=True) is None:
            raise NotFound
        await repository.delete(unit.connection, [feedback_id])
    return True


async def delete_own(deps: Deps, principal: Principal) -> bool:
    """Removes all ratings of a person. Whether there were any."""
    async with deps.database.write() as unit:
        return await feedbacks.delete_where(unit.connection, feedbacks.t.c.user_id == principal.id) > 0


async def delete_all(deps: Deps) -> bool:
    """Removes everybody's ratings. Whether there were any."""
    async with deps.database.write() as unit:
        return await feedbacks.delete_where(unit.connection) > 0


async def own(deps: Deps, principal: Principal, number: int) -> Wire:
    """A page of one's own ratings."""
    async with deps.database.read() as connection:
        items, total = await feedbacks.page(connection, feedbacks.t.c.user_id == principal.id, number=number)
    return {"items": items, "total": total}


async def listed(
    deps: Deps, number: int, *, model_id: str | None = None, sort: str | None = None, direction: str | None = None
) -> Wire:
    """A page of everybody's ratings, or of those of a model."""
    where = () if model_id is None else (feedbacks.t.c.model_id == model_id,)
    async with deps.database.read() as connection:
        items, total = await feedbacks.page(
            connection, *where, number=number, sort=sort, ascending=(direction or "").lower() == "asc"
        )
    return {"items": items, "total": total}


async def models(deps: Deps) -> list[str]:
    """The models that were rated."""
    async with deps.database.read() as connection:
        return await feedbacks.model_ids(connection)


def wire(row: Feedback, snapshot: msgspec.Raw | None) -> Wire:
    """A rating, whole, in the order of the wire."""
    out = msgspec.structs.asdict(row)
    times = {name: out.pop(name) for name in ("created_at", "updated_at")}
    return out | {"snapshot": snapshot} | times


async def ids(deps: Deps) -> AsyncIterator[bytes]:
    """The ids of all ratings as a JSON array, the newest first, in portions."""
    comma, last = b"[", None
    while True:
        async with deps.database.read() as connection:
            found = await feedbacks.ids_before(connection, *(() if last is None else last))
        for row in found:
            yield comma + _encode(row)
            comma = b","
        if len(found) < feedbacks.BATCH:
            break
        last = found[-1].created_at, found[-1].id
    yield b"[]" if comma == b"[" else b"]"


async def export(deps: Deps, model_id: str | None) -> AsyncIterator[bytes]:
    """All ratings as a JSON array, whole, or those of a model; the newest first, in portions. Chats are in it where
    administrators may see them.
    """
    shown = may_see_chats(deps) and deps.settings.enable_admin_export
    comma, last = b"[", None
    while True:
        async with deps.database.read() as connection:
            found = await feedbacks.whole_before(connection, model_id, *(() if last is None else last), snapshots=shown)
        for row in found:
            # Each in a turn of its own: with its chat it may be large.
            whole, last = await asyncio.to_thread(_whole, row)
            yield comma + whole
            comma = b","
        if len(found) < feedbacks.WHOLE_BATCH:
            break
    yield b"[]" if comma == b"[" else b"]"


def _whole(row: Sequence[Any]) -> tuple[bytes, tuple[int, str]]:
    """A rating as it goes out, and where it stands among all."""
    found = feedbacks.whole(row)
    return _encode(found), (found["created_at"], found["id"])


async def _check_chat(deps: Deps, principal: Principal, meta: Mapping[str, Any] | None) -> None:
    """Raises NotFound for a rating about a chat that the caller may not read."""
    chat_id = (meta or {}).get("chat_id")
    if chat_id is None:
        return
    if not isinstance(chat_id, str):
        raise BadRequest("'meta.chat_id' should be the id of a chat.")
    if chat_id.startswith(TEMPORARY):
        return
    async with deps.database.read() as connection:
        found = await chats.get(connection, principal, chat_id, admin_access=deps.settings.enable_admin_chat_access)
    if found is None:
        raise NotFound


def snapshot_json(form: FeedbackForm) -> bytes | None:
    """The JSON of what is kept of the chat that came with a rating. For a thread. Raises OuiError."""
    try:
        kept = kept_of(form.snapshot, form.meta)
        return None if kept is None else _encode(kept)
    except (ValueError, OverflowError, TypeError) as error:
        raise OuiError(f"The chat with the rating {_said(error)}.", status=422) from None


def _said(error: Exception) -> str:
    return str(error) if type(error) is ValueError else "holds a number that can't be stored"


def kept_of(snapshot: Wire | None, meta: Mapping[str, Any] | None) -> Wire | None:
    """What is kept of a chat with a rating: the whole of a small one, of a large one the messages up to the one that is rated
    as far as they fit, and nothing of what is no chat. Raises ValueError for what is nested without end.
    """
    if snapshot is None or (whole := _within(snapshot, MAX_SNAPSHOT)) is not None:
        return snapshot and whole
    try:
        outer = snapshot["chat"]
        inner = outer["chat"]
        history = inner["history"]
        branch = _branch(history["messages"], (meta or {}).get("message_id") or history.get("currentId"))
        left = inner | {"history": {"currentId": history.get("currentId"), "messages": branch}, "messages": []}
        cut = {"chat": {**outer, "chat": left}, "cut": True}
    except (KeyError, TypeError, AttributeError):
        return None
    return _within(cut, 2 * MAX_SNAPSHOT)


def _within(value: Wire, limit: int) -> Wire | None:
    """A value, cleaned, if its JSON has no more bytes than this. What is far larger is not gone through to its end."""
    if _left(value, limit) < 0:
        return None
    cleaned: Wire = clean(value)
    return cleaned if len(_encode(cleaned)) <= limit else None


def _left(value: Any, left: int, depth: int = 0) -> int:
    """What is left of so many bytes behind a value's JSON, which has at least one for each character; below 0: no more."""
    if depth > MAX_DEPTH:
        raise ValueError("is nested too deeply")
    if isinstance(value, str):
        return left - len(value)
    left -= 1
    if isinstance(value, dict):
        for name, one in value.items():
            if left < 0:
                break
            left = _left(one, left - len(name), depth + 1)
    elif isinstance(value, list):
        for one in value:
            if left < 0:
                break
            left = _left(one, left, depth + 1)
    return left


def _branch(messages: Mapping[str, Any], message_id: Any) -> Wire:
    """A message and those before it, the newest of them, as far as they fit."""
    out: Wire = {}
    left = MAX_SNAPSHOT
    while (
        isinstance(message_id, str) and message_id not in out and isinstance(message := messages.get(message_id), dict)
    ):
        if (whole := _within(message, left)) is None:
            break
        left -= len(_encode(whole))
        out[message_id] = whole
        message_id = message.get("parentId")
    return dict(reversed(out.items()))
