"""Notifications: where people want to be told, and how they are, by jobs that outlive the process.

What is told is checked again when it is sent: a target that was switched off, a permission that was taken and an account that
is gone get nothing.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.access.api_keys import Sealer
from open_webui.access.identify import Identifier
from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import BadRequest, Forbidden, NotFound, OuiError, TooManyRequests
from open_webui.events import ChatEvent, Emitter
from open_webui.internal.db import Database, UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.internal.supervise import supervise
from open_webui.jobs.kinds import GiveUp, Kind, Retry, Run
from open_webui.jobs.queue import Queue
from open_webui.models import chats, jobs, users
from open_webui.models import notification_targets as targets
from open_webui.models.base import new_id, now
from open_webui.models.notification_targets import Target
from open_webui.principal import Principal
from open_webui.schemas.notifications import NotificationTargetForm
from open_webui.services import mailer, webhook_calls
from open_webui.services.event_names import Happened

log = get_logger(__name__)
PERMISSION: Final = "features.webhooks"
SETTING: Final = "ui.enable_user_webhooks"
TYPES: Final = ("webhook", "email", "page")
# Of one person.
MOST_TARGETS: Final = 20
# Deliveries that fail for good one after the other, until a target is switched off.
MOST_FAILURES: Final = 10
# Seconds between two tries of one target by hand.
TEST_SECONDS: Final = 5
# News that wait in memory to become jobs. More at once are dropped, with a line in the log.
MOST_WAITING: Final = 1_000
# Jobs of one person that wait or run: their targets may be slow, and whatever calls them may be in a loop.
MOST_JOBS: Final = 20
# Characters of a title and of a text.
MAX_TITLE: Final = 200
MAX_TEXT: Final = 4_000
END_SECONDS: Final = 5.0
NO_URL: Final = "A webhook needs an address: put it into `url` of `config`."
NO_TARGET: Final = "There is no such notification target."
NO_TYPE: Final = "A notification target is a webhook, email or page."
TAKEN: Final = "You have a notification target of this name. Choose another name."
TOO_MANY: Final = f"You have {MOST_TARGETS} notification targets, which is the most. Remove one first."
NO_EVENT: Final = "There is no event {!r} that one is notified of."
OFF: Final = "Nothing is sent: notifications are switched off, or the account may not have them any more."
TOO_SOON: Final = f"It was tried out a moment ago. Try again in {TEST_SECONDS} seconds."
IN_LINE: Final = (
    f"{MOST_JOBS} notifications of yours wait to be sent, which is the most. Try again when some of them are sent."
)
DROPPED: Final = "too many notifications of one person wait: some are not sent"
OTHERS_MAIL: Final = "E-mail goes to the address of your account, and to no other."


class Notifies(msgspec.Struct, frozen=True):
    """An event that one can be notified of. title: of the message, with the name of what it is about."""

    event: str
    label: str
    description: str
    title: str


REMINDER: Final = "calendar.reminder"
MENTION: Final = "channel.mention"
RUN_FINISHED: Final = "automation.finished"
RUN_FAILED: Final = "automation.failed"
EVENTS: Final = (
    Notifies("chat.finished", "Chat finished", "An answer in one of your chats is complete.", "Answered: {}"),
    Notifies("chat.failed", "Chat failed", "An answer in one of your chats failed.", "Failed: {}"),
    Notifies(REMINDER, "Calendar reminder", "An event of a calendar is about to begin.", "{}"),
    Notifies(MENTION, "Mentioned in a channel", "Somebody mentioned you in a channel.", "{}"),
    Notifies(RUN_FINISHED, "Automation finished", "A run of one of your automations is complete.", "Done: {}"),
    Notifies(RUN_FAILED, "Automation failed", "A run of one of your automations failed.", "Failed: {}"),
)
BY_NAME: Final[Mapping[str, Notifies]] = {row.event: row for row in EVENTS}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is told. id: the same in every try, so that who gets it twice can tell. path: the page about it."""

    id: str
    event: str
    title: str
    text: str
    path: str
    at: int
    subject: dict[str, Any] = {}


class Sending(msgspec.Struct, frozen=True):
    """The payload of a job: what one target is told. The address is not in it."""

    user_id: str
    target_id: str
    message: Message


class Deps(Protocol):
    """What notifications need of the state."""

    settings: Settings
    config: Config
    database: Database
    identifier: Identifier
    sealer: Sealer
    emitter: Emitter
    jobs: Queue


def check(deps: Deps, principal: Principal) -> None:
    """Raises Forbidden (403) where notifications are switched off, or not permitted."""
    if not may(deps.config, principal):
        raise Forbidden(status=403)


def may(config: Config, principal: Principal) -> bool:
    """Whether somebody may have targets now."""
    return bool(config[SETTING]) and principal.may(PERMISSION)


def catalogue() -> dict[str, Any]:
    """What one can be notified of."""
    return {"events": [{"event": e.event, "label": e.label, "description": e.description} for e in EVENTS]}


async def listed(deps: Deps, principal: Principal) -> dict[str, Any]:
    check(deps, principal)
    async with deps.database.read() as connection:
        return {"targets": [wire(target) for target in await targets.of_user(connection, principal.id)]}


def wire(target: Target) -> dict[str, Any]:
    """A target as its owner sees it: not its address, which whoever has could send to."""
    return {
        "id": target.id,
        "type": target.type,
        "enabled": target.enabled,
        "is_default": target.is_default,
        "events": target.events,
        "delivery": target.delivery,
        "config": {"url_masked": target.shown} if target.shown else {},
        "error": target.error,
        "created_at": target.created_at,
        "updated_at": target.updated_at,
    }


async def create(deps: Deps, principal: Principal, form: NotificationTargetForm) -> dict[str, Any]:
    """A new target; the first is the default."""
    check(deps, principal)
    kind = form.type or "webhook"
    sealed, shown = _address(deps, principal, kind, form.config)
    _check_events(form.events)
    async with deps.database.write() as unit:
        # Of two that are made at once, one is the first.
        await users.lock(unit.connection, [principal.id])
        mine = await targets.of_user(unit.connection, principal.id)
        if len(mine) >= MOST_TARGETS:
            raise BadRequest(TOO_MANY)
        target = Target(
            user_id=principal.id, id=form.id or _free_name(kind, {t.id for t in mine}), type=kind,
            enabled=form.enabled is not False, is_default=not mine, events=_unique(form.events or []),
            delivery=form.delivery or "away", sealed=sealed, shown=shown, failures=0, error=None, tested_at=0,
            created_at=now(), updated_at=now(),
        )  # fmt: skip
        if not await targets.insert(unit.connection, target):
            raise BadRequest(TAKEN)
    return wire(target)


async def update(deps: Deps, principal: Principal, target_id: str, form: NotificationTargetForm) -> dict[str, Any]:
    """Changes a target; what is left out stays. Another name is given by removing it and making it anew."""
    check(deps, principal)
    _check_events(form.events)
    async with deps.database.write() as unit:
        target = await _require(unit, principal, target_id)
        if form.type is not None and form.type != target.type:
            raise BadRequest("What a target is can't be changed. Make another one.")
        values: dict[str, Any] = {}
        if form.config is not None and (form.config or target.type == "webhook"):
            values["sealed"], values["shown"] = _address(deps, principal, target.type, form.config)
        if form.enabled is not None:
            values["enabled"] = form.enabled
        if form.events is not None:
            values["events"] = _unique(form.events)
        if form.delivery is not None:
            values["delivery"] = form.delivery
        if form.enabled or "sealed" in values:
            values |= {"failures": 0, "error": None}
        if values:
            await targets.change(unit.connection, principal.id, target_id, values)
        return wire(await _require(unit, principal, target_id))


async def delete(deps: Deps, principal: Principal, target_id: str) -> bool:
    """Removes a target; where it was the default, the first of the others is it now. Raises NotFound."""
    check(deps, principal)
    async with deps.database.write() as unit:
        target = await targets.get(unit.connection, principal.id, target_id)
        if target is None or not await targets.delete(unit.connection, principal.id, target_id):
            raise NotFound
        left = await targets.of_user(unit.connection, principal.id)
        if target.is_default and left:
            await targets.set_default(unit.connection, principal.id, left[0].id)
    return True


async def make_default(deps: Deps, principal: Principal, target_id: str) -> dict[str, Any]:
    check(deps, principal)
    async with deps.database.write() as unit:
        await _require(unit, principal, target_id)
        await targets.set_default(unit.connection, principal.id, target_id)
        return wire(await _require(unit, principal, target_id))


async def test(deps: Deps, principal: Principal, target_id: str) -> bool:
    """Sends a message now, and says why where that fails."""
    check(deps, principal)
    async with deps.database.write() as unit:
        target = await _require(unit, principal, target_id)
        if not await targets.claim_test(unit.connection, principal.id, target_id, TEST_SECONDS):
            raise TooManyRequests(TOO_SOON)
    text = "If you can read this, notifications reach you here."
    message = Message(id=new_id(), event="test", title="Test", text=text, path="/", at=int(time.time()))
    try:
        await deliver(deps, principal, target, message)
    except (OuiError, GiveUp) as error:
        raise BadRequest(error.detail if isinstance(error, OuiError) else str(error)) from error
    return True


async def deliver(deps: Deps, principal: Principal, target: Target, message: Message) -> None:
    """Tells one target. Raises OuiError for what may go better another time, and GiveUp for what won't."""
    link = str(deps.config["webui.url"] or "").rstrip("/")
    link = f"{link}{message.path}" if link else ""
    if target.type == "page":
        data = {"type": "success", "content": f"{message.title}\n{message.text}".strip()}
        await deps.emitter.chat(
            principal.id, ChatEvent(str(message.subject.get("id") or ""), None, "notification", data)
        )
    elif target.type == "email":
        body = "\n\n".join(filter(None, (message.text, link)))
        await mailer.send(deps.settings, principal.email, f"{deps.config['ui.name']}: {message.title}", body)
    else:
        url = deps.sealer.unseal(target.sealed or "", place(principal.id))
        if url is None:
            raise GiveUp("The address can't be read any more: the server's secret key has changed. Set it again.")
        await webhook_calls.send(url, message.id, body_of(message, link))


def body_of(message: Message, link: str) -> dict[str, Any]:
    """The JSON of a message. `text` and `content` are what Slack, Mattermost, Teams and Discord show."""
    said = "\n".join(filter(None, (f"**{message.title}**", message.text, link)))
    return {
        "id": message.id,
        "event": message.event,
        "timestamp": message.at,
        "title": message.title,
        "message": message.text,
        "url": link or None,
        "subject": message.subject,
        "text": said,
        "content": said[:2_000],
    }


def place(user_id: str) -> str:
    """What an address is sealed for: in another person's row it can't be read."""
    return f"notification target of {user_id}"


def _address(deps: Deps, principal: Principal, kind: str, config: Mapping[str, Any] | None) -> tuple[str | None, str]:
    """The address of a target, sealed, and what is shown of it. Raises BadRequest."""
    config = config or {}
    if kind == "webhook":
        url = config.get("url")
        if not isinstance(url, str) or not url.strip():
            raise BadRequest(NO_URL)
        url = webhook_calls.checked(url.strip())
        return deps.sealer.seal(url, place(principal.id)), webhook_calls.masked(url)
    if kind == "email":
        if not mailer.is_there(deps.settings):
            raise BadRequest(mailer.NO_SERVER)
        given = config.get("email")
        if given is not None and given != principal.email:
            raise BadRequest(OTHERS_MAIL)
        if not mailer.is_address(principal.email):
            raise BadRequest(mailer.NO_ADDRESS)
        return None, principal.email
    if kind == "page":
        return None, ""
    raise BadRequest(NO_TYPE)


def _check_events(events: list[str] | None) -> None:
    for name in events or ():
        if name not in BY_NAME:
            raise BadRequest(NO_EVENT.format(name))


def _unique(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _free_name(kind: str, taken: set[str]) -> str:
    names = (kind if number == 1 else f"{kind}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


async def _require(unit: UnitOfWork, principal: Principal, target_id: str) -> Target:
    target = await targets.get(unit.connection, principal.id, target_id)
    if target is None:
        raise BadRequest(NO_TARGET)
    return target


async def _free_keys(connection: AsyncConnection, user_id: str) -> list[str]:
    """Keys for as many more jobs as somebody may have. Until the unit of work ends nobody else takes them."""
    await users.lock(connection, [user_id])
    return await jobs.free_keys(connection, [f"notification:{user_id}:{number}" for number in range(MOST_JOBS)])


class Notifier:
    """Makes jobs of what happens, for those who want to be told. One for a process.

    An answer does not wait for that: news are gathered in memory for the moment until a task has stored their jobs.
    """

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._waiting: asyncio.Queue[tuple[Principal, str, Message]] = asyncio.Queue(MOST_WAITING)
        self._task: asyncio.Task[None] | None = None
        self.kind = Kind(
            name="send a notification",
            payload=Sending,
            handler=self._send,
            retry=Retry(attempts=6, first=10.0, longest=900.0),
            time_limit=60.0,
            concurrency=8,
            keep=0,
            given_up=self._given_up,
        )

    def note(self, happened: Happened, principal: Principal | None) -> None:
        """Has somebody told of something that happened to what is theirs, where they want to be."""
        row = BY_NAME.get(happened.name)
        if row is None or principal is None or not may(self._deps.config, principal):
            return
        self.tell(principal, row.event, "", "", subject=happened.subject)

    def tell(
        self,
        principal: Principal,
        event: str,
        title: str,
        text: str,
        *,
        path: str = "",
        subject: dict[str, Any] | None = None,
    ) -> None:
        """Has somebody told of an event of EVENTS. An empty title is made of what it is about."""
        message = Message(
            id=new_id(), event=event, title=title, text=text, path=path, at=int(time.time()), subject=subject or {}
        )
        try:
            self._waiting.put_nowait((principal, event, message))
        except asyncio.QueueFull:
            log.warning("too many notifications at once: some are not sent", most=MOST_WAITING)
            return
        if self._task is None or self._task.done():
            self._task = supervise("notifications", self._store)

    async def put_in(self, unit: UnitOfWork, people: Sequence[Principal], message: Message) -> None:
        """Has some people told of an event of EVENTS, where they want to be, with the caller's unit of work."""
        who = {one.id: one for one in people if may(self._deps.config, one)}
        wanted: dict[str, list[Target]] = {}
        for target in await targets.of_people(unit.connection, who.keys()):
            away = target.delivery == "always" or not self._deps.emitter.is_connected(target.user_id)
            if target.enabled and away and message.event in target.events:
                wanted.setdefault(target.user_id, []).append(target)
        for user_id in sorted(wanted):
            keys = await _free_keys(unit.connection, user_id)
            for target, key in zip(wanted[user_id], keys, strict=False):
                await self._deps.jobs.enqueue(unit, self.kind, Sending(user_id, target.id, message), key=key)
            if len(keys) < len(wanted[user_id]):
                log.warning(DROPPED, user=user_id, most=MOST_JOBS)

    async def send_to(
        self, principal: Principal, target_id: str, title: str, text: str, *, event: str = "notify"
    ) -> str:
        """Puts in a message to one target, or to the default where the id is empty. Gives its id. Raises OuiError."""
        check(self._deps, principal)
        async with self._deps.database.write() as unit:
            keys = await _free_keys(unit.connection, principal.id)
            mine = await targets.of_user(unit.connection, principal.id)
            found = next((t for t in mine if (t.id == target_id if target_id else t.is_default)), None)
            if found is None:
                raise BadRequest(NO_TARGET)
            if not found.enabled:
                raise BadRequest("This notification target is switched off.")
            if not keys:
                raise TooManyRequests(IN_LINE)
            message = Message(
                id=new_id(), event=event, title=title[:MAX_TITLE], text=text[:MAX_TEXT], path="", at=int(time.time())
            )
            await self._deps.jobs.enqueue(unit, self.kind, Sending(principal.id, found.id, message), key=keys[0])
        return found.id

    async def close(self) -> None:
        """Waits shortly for the jobs that are about to be stored."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=END_SECONDS)
            self._task.cancel()

    async def _store(self) -> None:
        while not self._waiting.empty():
            principal, event, message = self._waiting.get_nowait()
            try:
                await self._store_one(principal, event, message)
            except (SQLAlchemyError, OSError) as error:
                log.warning("a notification could not be stored", error=str(error))

    async def _store_one(self, principal: Principal, event: str, message: Message) -> None:
        database = self._deps.database
        async with database.read() as connection:
            mine = [t for t in await targets.of_user(connection, principal.id) if t.enabled and event in t.events]
            is_away = not self._deps.emitter.is_connected(principal.id)
            mine = [t for t in mine if is_away or t.delivery == "always"]
            if not mine:
                return
            message = await _with_title(connection, principal, event, message)
        async with database.write() as unit:
            keys = await _free_keys(unit.connection, principal.id)
            for target, key in zip(mine, keys, strict=False):
                await self._deps.jobs.enqueue(unit, self.kind, Sending(principal.id, target.id, message), key=key)
        if len(keys) < len(mine):
            log.warning(DROPPED, user=principal.id, most=MOST_JOBS)

    async def _send(self, run: Run, sending: Sending) -> None:
        """One try. What has changed since it was put in counts."""
        deps = self._deps
        async with deps.database.read() as connection:
            target = await targets.get(connection, sending.user_id, sending.target_id)
        principal = await deps.identifier.account(sending.user_id)
        if target is None or principal is None or not target.enabled or not may(deps.config, principal):
            return
        await deliver(deps, principal, target, sending.message)
        async with deps.database.write() as unit:
            await targets.went_well(unit.connection, sending.user_id, sending.target_id)
            await run.commit(unit)

    async def _given_up(self, unit: UnitOfWork, sending: Sending, error: str) -> None:
        await targets.went_wrong(unit.connection, sending.user_id, sending.target_id, error[:500], MOST_FAILURES)


async def _with_title(connection: AsyncConnection, principal: Principal, event: str, message: Message) -> Message:
    """The message with the name of the chat that it is about."""
    if message.title:
        return message
    chat_id = str(message.subject.get("id") or "")
    chat = await chats.own(connection, principal.id, chat_id)
    title = BY_NAME[event].title.format("a chat" if chat is None else chat.title)[:MAX_TITLE]
    text = BY_NAME[event].description
    return msgspec.structs.replace(message, title=title, text=text, path=message.path or f"/c/{chat_id}")
