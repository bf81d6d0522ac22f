"""`oui-backend import chats`: the chats of an export of another program become somebody's here."""

import asyncio
import uuid
from pathlib import Path
from typing import Any, Final

import msgspec
from fastapi.exceptions import RequestValidationError

from open_webui.administration import Administration
from open_webui.env import Settings
from open_webui.errors import NotFound, OuiError, StartupError
from open_webui.migrations.runner import failures_as_sentences, need_current
from open_webui.models import chats, moved, users
from open_webui.models.base import now
from open_webui.moving_in import conversations
from open_webui.moving_in.conversations import Conversation, NotKnown
from open_webui.moving_in.move import Say
from open_webui.moving_in.outcome import Report
from open_webui.principal import Principal
from open_webui.schemas.chats import Document, read_document
from open_webui.services import staging
from open_webui.services.audit.commands import act_of, tell
from open_webui.services.new_chats import NEW_TITLE
from open_webui.storage.base import StoreAway

# Bytes of an export.
LARGEST: Final = 2**30
_TABLE: Final = "chats"
_AT_ONCE: Final = 200
# The ids of chats that were imported: the same chat of the same person is the same one, however often it comes.
_IMPORTED: Final = uuid.UUID("6f75692d-6368-4174-8000-696d706f7274")


async def import_chats(settings: Settings, file: Path, email: str, say: Say, *, dry_run: bool = False) -> Report:
    """Takes the chats over that are not here yet. Raises StartupError, NotFound for an address that has no account."""
    await need_current(settings)
    data = await asyncio.to_thread(_bytes, file)
    admin = Administration(settings)
    try:
        with failures_as_sentences(settings):
            async with admin.database.read() as connection:
                user = await users.get_by_email(connection, email.strip().lower())
            if user is None:
                raise NotFound(f"There is no account {email}. `oui-backend users list` shows all.")
            owner = Principal(id=user.id, role="user", name=user.name, email=user.email)
            report = Report(str(file), dry_run)
            try:
                await _take_all(admin, owner, data, report, say)
            except NotKnown as error:
                raise StartupError(str(error)) from None
            taken = {table: (None, one.taken) for table, one in report.tables.items() if one.taken}
            if taken and not dry_run:
                act = act_of("import chats", "import", "import")
                act.resource, act.resource_id = "user", user.id
                await tell(admin.audit, act, taken)
            report.finished = True
            return report
    finally:
        await admin.close()


def _bytes(file: Path) -> bytes:
    """Raises StartupError."""
    try:
        if file.stat().st_size > LARGEST:
            raise StartupError(f"The file has more than {LARGEST // 2**30} GB.")
        return file.read_bytes()
    except OSError as error:
        raise StartupError(f"The file {file} can't be read ({error.strerror}).") from None


async def _take_all(admin: Administration, owner: Principal, data: bytes, report: Report, say: Say) -> None:
    found = conversations.read(data)
    done = 0
    while some := await asyncio.to_thread(_next, found):
        ids = {_id(owner, one): one for one in some}
        async with admin.database.read() as connection:
            here = await moved.owners(connection, "chat", ids.keys())
            hidden = await moved.hidden(connection, ids.keys())
        if hidden and not report.dry_run:
            await staging.remove_hidden(admin.database, hidden)
        for chat_id, one in ids.items():
            if chat_id in here:
                report.of(_TABLE).there += 1
            else:
                await _take(admin, owner, chat_id, one, report)
        done += len(some)
        say(f"{_TABLE}: {done:,}")


def _next(found: Any) -> list[Conversation]:
    return [one for _, one in zip(range(_AT_ONCE), found, strict=False)]


def _id(owner: Principal, one: Conversation) -> str:
    # One without an id is told apart by what is said in it.
    key = msgspec.json.encode(one).decode() if one.key.startswith("#") else one.key
    return str(uuid.uuid5(_IMPORTED, f"{owner.id}/{key}"))


async def _take(admin: Administration, owner: Principal, chat_id: str, one: Conversation, report: Report) -> None:
    if one.problem is not None or not one.messages:
        report.leave(_TABLE, one.key, one.problem or "it has no message")
        return
    history = {"messages": one.messages, "currentId": one.current_id}
    try:
        document = await read_document(
            {"history": msgspec.Raw(msgspec.json.encode(history))}, creating=True, mends=True
        )
        new = await _draft(owner, chat_id, one, document)
        if not report.dry_run:
            await staging.store_new(admin.database, owner, [new])
    except RequestValidationError as error:
        report.leave(_TABLE, one.key, str(error.errors()[0]["msg"]))
    except StoreAway:
        raise
    except OuiError as error:
        report.leave(_TABLE, one.key, error.detail)
    else:
        report.of(_TABLE).taken += 1
        if document.mended:
            report.mend(_TABLE, one.key, "some of its messages were mended, or could not be read")


async def _draft(owner: Principal, chat_id: str, one: Conversation, document: Document) -> chats.NewChat:
    at = now()
    models = list(dict.fromkeys(m["model"] for m in one.messages.values() if "model" in m))
    made = one.created_at if one.created_at is not None else at
    changed = one.updated_at if one.updated_at is not None else made
    times = {"created_at": made, "updated_at": changed, "last_read_at": at}
    title = one.title.strip() or NEW_TITLE
    return await chats.draft(
        owner.id, title, {"models": models[:5]}, document.fields or (), document.current_id, id=chat_id, **times
    )
