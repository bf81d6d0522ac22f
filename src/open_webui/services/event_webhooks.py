"""Webhooks of administrators: addresses that are told what happens on the server, by jobs, each event signed.

What happens is gathered in memory for the moment until its jobs are stored; from then on nothing is lost. An address that
fails again and again is switched off.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from open_webui import constants
from open_webui.access.api_keys import Sealer
from open_webui.access.identify import Identifier
from open_webui.config import Config
from open_webui.errors import BadRequest, NotFound
from open_webui.internal.bus.followed import LOOK_SECONDS, Followed
from open_webui.internal.bus.port import Bus
from open_webui.internal.db import Database, UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.internal.supervise import supervise
from open_webui.jobs.kinds import GiveUp, Kind, Retry, Run
from open_webui.jobs.queue import Queue
from open_webui.models import event_webhooks as webhooks
from open_webui.models import jobs
from open_webui.models.base import new_id, now
from open_webui.models.event_webhooks import EventWebhook
from open_webui.principal import Principal
from open_webui.schemas.notifications import EventWebhookForm, EventWebhookUpdateForm
from open_webui.services import webhook_calls
from open_webui.services.event_names import BY_ROUTE, Happened

log = get_logger(__name__)
MOST_WEBHOOKS: Final = 20
# Events that could not be told one after the other, until a webhook is switched off.
MOST_FAILURES: Final = 20
# Events that wait in memory, and jobs that wait in the database. More are dropped, with a line in the log.
MOST_WAITING: Final = 1_000
MOST_JOBS: Final = 10_000
_AT_ONCE: Final = 100
END_SECONDS: Final = 5.0
_SEALED_FOR: Final = "event webhook"
# The one that the setting `webhook_url` (WEBHOOK_URL) makes: it is told who has signed up.
DEFAULT: Final = "default"
DEFAULT_EVENTS: Final = ("auth.signup", "user.created")
SETTING: Final = "webhook_url"
UNKNOWN: Final = "There is no such webhook."
TOO_MANY: Final = f"There are {MOST_WEBHOOKS} webhooks, which is the most. Remove one first."
NO_EVENT: Final = "There is no event {!r}. GET /api/events lists them; `chat.*` means all that begin so, `*` all."
NO_TARGET: Final = "Each of `targets` should have a `type`, which is user or group, and an `id`."
FIXED: Final = "The default webhook has an address and nothing else that could be changed. Make another one."
_BEGINNING: Final = re.compile(r"[a-z_]+(\.[a-z_]+)*\.\*")
# Of no request.
_OTHERS: Final = ("system.startup.completed", "system.shutdown.started", "chat.created", "chat.finished", "chat.failed")
NAMES: Final = tuple(sorted({name for row in BY_ROUTE.values() for name in row.names}.union(_OTHERS)))


class Sealed(msgspec.Struct, frozen=True):
    """What is encrypted of a webhook."""

    url: str
    secret: str


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is told."""

    id: str
    event: str
    timestamp: int
    actor: dict[str, Any] | None
    subject: dict[str, Any]
    data: dict[str, Any]


class Telling(msgspec.Struct, frozen=True):
    """The payload of a job: what one webhook is told."""

    webhook_id: str
    told: Told


class Deps(Protocol):
    """What webhooks need of the state."""

    config: Config
    database: Database
    identifier: Identifier
    sealer: Sealer
    bus: Bus
    jobs: Queue


def catalogue() -> dict[str, Any]:
    """The events that there are."""
    return {
        "schema": constants.WIRE_VERSION,
        "events": [{"event": n, "description": f"{_words(n)}.", "message": _words(n)} for n in NAMES],
    }


def _words(name: str) -> str:
    """A name as words: "auth.api_key.created" is "Auth api key created"."""
    return name.replace(".", " ").replace("_", " ").capitalize()


class EventWebhooks:
    """One for a process. rows: the webhooks, as all processes have them."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._rows: tuple[EventWebhook, ...] = ()
        self._followed = Followed("event webhooks", deps.bus, self._load, every=LOOK_SECONDS)
        self._waiting: asyncio.Queue[tuple[Principal | None, Told]] = asyncio.Queue(MOST_WAITING)
        self._task: asyncio.Task[None] | None = None
        self.kind = Kind(
            name="tell an event",
            payload=Telling,
            handler=self._tell,
            retry=Retry(attempts=6, first=10.0, longest=3_600.0),
            time_limit=60.0,
            concurrency=8,
            keep=0,
            given_up=self._given_up,
        )

    async def open(self) -> None:
        await self._followed.renew()
        if not self._deps.database.is_sqlite:
            self._followed.open()

    async def close(self) -> None:
        """Waits shortly for the jobs that are about to be stored."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=END_SECONDS)
            self._task.cancel()
        await self._followed.close()

    async def _load(self) -> None:
        async with self._deps.database.read() as connection:
            self._rows = tuple(await webhooks.every(connection))

    @property
    def is_wanted(self) -> bool:
        """Whether anybody is told of events."""
        return bool(self._deps.config[SETTING]) or any(row.enabled for row in self._rows)

    # What happens

    def note(self, happened: Happened, actor: Principal | None) -> None:
        """Has those told that want to be, soon."""
        if not self.is_wanted:
            return
        told = Told(
            id=new_id(), event=happened.name, timestamp=int(time.time()), actor=None, subject=happened.subject,
            data=happened.data,
        )  # fmt: skip
        try:
            self._waiting.put_nowait((actor, told))
        except asyncio.QueueFull:
            log.warning("too many events at once: some are not told to webhooks", most=MOST_WAITING)
            return
        if self._task is None or self._task.done():
            self._task = supervise("event webhooks", self._store)

    async def _store(self) -> None:
        while not self._waiting.empty():
            news = [self._waiting.get_nowait() for _ in range(min(_AT_ONCE, self._waiting.qsize()))]
            try:
                await self._store_some(news)
            except (SQLAlchemyError, OSError) as error:
                log.warning("events could not be stored for webhooks", count=len(news), error=str(error))

    async def _store_some(self, news: Iterable[tuple[Principal | None, Told]]) -> None:
        tellings = []
        for caller, told in news:
            actor = caller
            if actor is None and told.event.startswith("auth."):
                # Who signs in is known once it is done.
                actor = await self._deps.identifier.account(str(told.subject.get("id")))
            who = None if actor is None else {n: getattr(actor, n) for n in ("id", "name", "email", "role")}
            tellings += [
                Telling(row, msgspec.structs.replace(told, actor=who)) for row in self._wanting(actor, told.event)
            ]
        if not tellings:
            return
        async with self._deps.database.write() as unit:
            if await jobs.count(unit.connection, state="waiting", kind=self.kind.name) + len(tellings) > MOST_JOBS:
                log.warning("too many events wait for webhooks: some are not told", most=MOST_JOBS)
                return
            for telling in tellings:
                await self._deps.jobs.enqueue(unit, self.kind, telling)

    def _wanting(self, actor: Principal | None, event: str) -> list[str]:
        """The ids of the webhooks that are told of an event that somebody caused."""
        found = [DEFAULT] if self._deps.config[SETTING] and event in DEFAULT_EVENTS else []
        return found + [row.id for row in self._rows if row.enabled and wants(row, actor, event)]

    # What is told

    async def _tell(self, run: Run, telling: Telling) -> None:
        told = telling.told
        body = msgspec.structs.asdict(told) | {"schema": constants.WIRE_VERSION} | _shown(told)
        if telling.webhook_id == DEFAULT:
            if url := self._deps.config[SETTING]:
                await webhook_calls.send(url, told.id, body, allow_local=True)
            return
        async with self._deps.database.read() as connection:
            row = await webhooks.get(connection, telling.webhook_id)
        if row is None or not row.enabled:
            return
        sealed = self._unsealed(row)
        if sealed is None:
            raise GiveUp("The address can't be read any more: the server's secret key has changed. Set it again.")
        await webhook_calls.send(sealed.url, told.id, body, secret=sealed.secret, allow_local=True)
        async with self._deps.database.write() as unit:
            await webhooks.went_well(unit.connection, row.id)
            await run.commit(unit)

    async def _given_up(self, unit: UnitOfWork, telling: Telling, error: str) -> None:
        await webhooks.went_wrong(unit.connection, telling.webhook_id, error[:500], MOST_FAILURES)
        unit.after_commit(self._followed.changed)

    # Which there are

    async def listed(self) -> list[dict[str, Any]]:
        async with self._deps.database.read() as connection:
            rows = await webhooks.every(connection)
        return self._default() + [self._wire(row) for row in rows]

    async def create(self, form: EventWebhookForm) -> dict[str, Any]:
        """A new one, with the secret that signs its events, which is told this once."""
        url = webhook_calls.checked(form.url, allow_local=True)
        sealed = Sealed(url, webhook_calls.new_secret(secrets.token_bytes(32)))
        row = EventWebhook(
            id=new_id(), name=form.name or "", enabled=form.enabled, events=_events(form.events),
            targets=_targets(form.targets), sealed=self._seal(sealed), failures=0, error=None, created_at=now(),
            updated_at=now(),
        )  # fmt: skip
        async with self._deps.database.write() as unit:
            if await webhooks.count(unit.connection) >= MOST_WEBHOOKS:
                raise BadRequest(TOO_MANY)
            await webhooks.insert(unit.connection, row)
            unit.after_commit(self._followed.changed)
        return self._wire(row) | {"secret": sealed.secret}

    async def update(self, webhook_id: str, form: EventWebhookUpdateForm) -> dict[str, Any]:
        """Changes one; what is left out stays. Raises NotFound."""
        given = form.model_dump(exclude_unset=True)
        values: dict[str, Any] = {n: given[n] for n in ("name", "enabled") if given.get(n) is not None}
        if form.events is not None:
            values["events"] = _events(form.events)
        if "targets" in given:
            values["targets"] = _targets(form.targets)
        async with self._deps.database.write() as unit:
            row = await webhooks.get(unit.connection, webhook_id)
            if row is None:
                raise NotFound(UNKNOWN)
            sealed = self._unsealed(row) or Sealed("", webhook_calls.new_secret(secrets.token_bytes(32)))
            before = sealed
            if form.url is not None:
                sealed = msgspec.structs.replace(sealed, url=webhook_calls.checked(form.url, allow_local=True))
            if form.new_secret:
                sealed = msgspec.structs.replace(sealed, secret=webhook_calls.new_secret(secrets.token_bytes(32)))
            if sealed != before:
                values["sealed"] = self._seal(sealed)
            if form.enabled or form.url is not None:
                values |= {"failures": 0, "error": None}
            if values:
                await webhooks.change(unit.connection, webhook_id, values)
                unit.after_commit(self._followed.changed)
            row = await webhooks.get(unit.connection, webhook_id)
            if row is None:
                raise NotFound(UNKNOWN)
        return self._wire(row) | ({"secret": sealed.secret} if form.new_secret else {})

    async def delete(self, webhook_id: str) -> bool:
        """Removes one. Raises NotFound."""
        async with self._deps.database.write() as unit:
            if not await webhooks.delete(unit.connection, webhook_id):
                raise NotFound(UNKNOWN)
            unit.after_commit(self._followed.changed)
        return True

    def _default(self) -> list[dict[str, Any]]:
        """The one that a setting makes, as the others are shown."""
        url = self._deps.config[SETTING]
        if not url:
            return []
        return [
            {
                "id": DEFAULT, "name": "Default", "url": url, "enabled": True, "events": list(DEFAULT_EVENTS),
                "targets": None, "failures": 0, "error": None, "created_at": 0, "updated_at": 0,
            }
        ]  # fmt: skip

    def _wire(self, row: EventWebhook) -> dict[str, Any]:
        sealed = self._unsealed(row)
        return {
            "id": row.id,
            "name": row.name,
            "url": "" if sealed is None else sealed.url,
            "enabled": row.enabled,
            "events": row.events,
            "targets": row.targets,
            "failures": row.failures,
            "error": row.error,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
        }

    def _seal(self, sealed: Sealed) -> str:
        return self._deps.sealer.seal(msgspec.json.encode(sealed).decode(), _SEALED_FOR)

    def _unsealed(self, row: EventWebhook) -> Sealed | None:
        text = self._deps.sealer.unseal(row.sealed, _SEALED_FOR)
        return None if text is None else msgspec.json.decode(text, type=Sealed)


def wants(row: EventWebhook, actor: Principal | None, event: str) -> bool:
    """Whether a webhook is told of an event of this person, or of the server's own where there is none."""
    if not any(_fits(wanted, event) for wanted in row.events):
        return False
    if row.targets is None or actor is None:
        return True
    return any(one["id"] == actor.id if one["type"] == "user" else one["id"] in actor.groups for one in row.targets)


def _fits(wanted: str, event: str) -> bool:
    return wanted in {"*", event} or (wanted.endswith(".*") and event.startswith(wanted[:-1]))


def _events(given: list[str] | None) -> list[str]:
    """None and none mean all. Raises BadRequest."""
    for name in given or ():
        if name != "*" and name not in NAMES and not _BEGINNING.fullmatch(name):
            raise BadRequest(NO_EVENT.format(name))
    return list(dict.fromkeys(given or ["*"]))


def _targets(given: list[dict[str, str]] | None) -> list[dict[str, str]] | None:
    if given is None:
        return None
    if any(one.get("type") not in {"user", "group"} or not one.get("id") for one in given):
        raise BadRequest(NO_TARGET)
    return [{"type": one["type"], "id": one["id"]} for one in given]


def _shown(told: Told) -> dict[str, str]:
    """What Slack, Mattermost, Teams and Discord show."""
    about: Mapping[str, Any] = told.data
    name = next((str(about[n]) for n in ("name", "title", "filename", "email") if about.get(n)), "")
    who = "" if told.actor is None else str(told.actor["name"])
    said = _words(told.event) + (f": {name}" if name else "") + (f" ({who})" if who and who != name else "")
    return {"text": said, "content": said[:2_000]}
