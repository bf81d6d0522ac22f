"""Models that answer in channels: a job for each, whose answer grows by updates of one message.

Everything is done in the name of who asked: the model has to be theirs to use, it counts as their call, and each time that
more of the answer is stored they must still be allowed to write there. Should the process end, the message says so.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from llamaforge.events.parts import Limits
from open_webui.chat import api
from open_webui.chat.assemble import Answer
from open_webui.chat.context.stage import Services
from open_webui.chat.request import ApiRequest, parse_api_request
from open_webui.errors import Forbidden, NotFound, OuiError
from open_webui.internal.db import UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.jobs.kinds import GiveUp, Kind, Retry, Run
from open_webui.models import channel_messages, channels
from open_webui.models.channel_messages import Message
from open_webui.principal import Principal
from open_webui.services.channels import mentions, messages, telling
from open_webui.services.channels.mentions import KIND, Question
from open_webui.services.channels.telling import Change, Deps, author, opened

log = get_logger(__name__)
# Seconds between two updates of a message that grows, and that an answer may take. Each update is the whole message to
# everybody: one more second lies between two for so many characters of it.
UPDATE_SECONDS: Final = 0.5
CHARS_A_SECOND: Final = 10_000
LONGEST: Final = 600.0
# Answers that one process gives at once.
AT_ONCE: Final = 8
# Characters of an answer, and bytes of its pictures, which a channel does not keep.
LIMITS: Final = Limits(100_000, 1)
# What a model is told of what was said before.
MOST_MESSAGES: Final = 30
MOST_CHARS: Final = 60_000
NOT_THERE: Final = "This model is not there, or not yours to use."
INTERRUPTED: Final = "The server was stopped before the answer was complete. Ask again."
ENDED: Final = "The answer was ended: whoever asked may not write here any more."
CUT: Final = "The answer was longer than a channel keeps, and is cut off."
SYSTEM: Final = (
    "You answer in a channel called {name!r} where several people write. Each of their messages begins with its writer's name."
    " Answer the last one. Don't begin with a name yourself."
)
Wire = dict[str, Any]


class Profile(Protocol):
    """A model as lists have it."""

    @property
    def listed(self) -> dict[str, Any]: ...


class Named(Protocol):
    """What knows how models are called (the catalogue)."""

    def profile(self, principal: Principal, model_id: str) -> Profile:
        """Raises NotFound for a model that somebody may not use."""
        ...


class ChannelAnswers:
    """The job that has a model answer. named: knows how models are called."""

    def __init__(self, deps: Deps, services: Services, named: Named, clock: Callable[[], float] = time.time) -> None:
        self._deps = deps
        self._services = services
        self._named = named
        self._clock = clock

    def kind(self) -> Kind[Question]:
        """One attempt: what was asked and paid once is not asked again."""
        return Kind(
            name=KIND,
            payload=Question,
            handler=self._answer,
            retry=Retry(attempts=1),
            time_limit=LONGEST,
            concurrency=AT_ONCE,
            keep=0,
            given_up=self._given_up,
        )

    async def _answer(self, run: Run, question: Question) -> None:
        principal = await self._asker(question)
        asked = await self._begin(principal, question)
        answer = Answer(self._clock, limits=LIMITS)
        problem = None
        try:
            request = _request(question, asked)
            problem = await self._read(question, request, answer, principal)
        except (Forbidden, NotFound) as error:
            problem = ENDED if isinstance(error, _Barred) else error.detail
        except OuiError as error:
            problem = error.detail
        answer.close("completed" if problem is None else "incomplete")
        await self._store(question, answer, problem, run)

    async def _asker(self, question: Question) -> Principal:
        principal = await self._deps.identifier.account(question.user_id)
        if principal is None or not principal.is_active or not telling.is_on(self._deps, principal):
            raise GiveUp(ENDED)
        return principal

    async def _begin(self, principal: Principal, question: Question) -> "_Asked":
        """Puts the message in that is going to be the answer; one that an earlier attempt left begins anew."""
        name = question.model_id
        target = None
        try:
            target = await self._services.gate.target(principal, question.model_id)
            name = str(self._named.profile(principal, question.model_id).listed.get("name") or name)
        except OuiError:
            target = None
        async with self._deps.database.write() as unit:
            connection = unit.connection
            change = await opened(self._deps, unit, principal, question.channel_id, writes=True)
            message = await channel_messages.get(connection, question.channel_id, question.message_id)
            if message is None:
                raise GiveUp("The message that asked is gone.")
            in_thread = self._deps.config["channels.model_response_mode"] == "thread"
            meta = {"model_id": question.model_id, "model_name": name}
            values = {
                "id": question.answer_id, "user_id": principal.id, "content": "", "data": {}, "meta": meta,
                "parent_id": message.parent_id or (message.id if in_thread else None),
                "reply_to_id": None if in_thread else message.id,
            }  # fmt: skip
            if await channel_messages.get(connection, question.channel_id, question.answer_id) is None:
                await messages.add(change, values, author(principal))
            else:
                await channel_messages.change(connection, question.answer_id, {"content": "", "data": {}, "meta": meta})
            thread = message.parent_id
            said = await channel_messages.before(
                connection, question.channel_id, message.created_at, thread, MOST_MESSAGES
            )
        return _Asked(change.channel.name, message, said, target is not None)

    async def _read(self, question: Question, request: ApiRequest, answer: Answer, principal: Principal) -> str | None:
        """Has the model answer, and stores what there is of it every now and then. Gives what was wrong with it."""
        services = self._services
        target = await services.gate.target(principal, question.model_id)
        request, filtering, _ = await api.prepared(services, principal, request, target)
        stored, wait = time.monotonic(), UPDATE_SECONDS
        async with await api.opening(services, principal, request, target, filtering) as reply:
            async for events in reply.events():
                answer.feed(events)
                if answer.is_full:
                    return CUT
                if time.monotonic() - stored >= wait:
                    await self._store(question, answer)
                    stored, wait = time.monotonic(), seconds_after(len(answer.text))
        return None

    async def _store(
        self, question: Question, answer: Answer, problem: str | None = None, run: Run | None = None
    ) -> None:
        """Has the message hold what the answer is by now, and tells it. run: it is the last time. Raises _Barred."""
        principal = await self._deps.identifier.account(question.user_id)
        async with self._deps.database.write() as unit:
            if run is None:
                if principal is None or not telling.is_on(self._deps, principal):
                    raise _Barred
                try:
                    change = await opened(self._deps, unit, principal, question.channel_id, writes=True)
                except (Forbidden, NotFound):
                    raise _Barred from None
            else:
                found = await _as_server(self._deps, unit, question.channel_id)
                await run.commit(unit)
                if found is None:
                    return
                change = found
            await _put(change, question, answer.text, answer.output(), problem, done=run is not None)

    async def _given_up(self, unit: UnitOfWork, question: Question, why: str) -> None:
        """Says in the message that it was not answered to the end."""
        change = await _as_server(self._deps, unit, question.channel_id)
        if change is None:
            return
        message = await channel_messages.get(unit.connection, question.channel_id, question.answer_id)
        if message is None or (message.meta or {}).get("done"):
            return
        log.info("an answer in a channel was not completed", channel_id=question.channel_id, why=why)
        output = (message.data or {}).get("output")
        await _put(
            change, question, message.content, output if isinstance(output, list) else [], INTERRUPTED, done=True
        )


def seconds_after(length: int) -> float:
    """How long a message of so many characters stays as it is."""
    return UPDATE_SECONDS + length / CHARS_A_SECOND


class _Asked(msgspec.Struct, frozen=True):
    """What was asked, in a channel of this name, after these messages. is_there: the model, for who asked."""

    channel: str
    message: Message
    said: Sequence[Message]
    is_there: bool


class _Barred(Forbidden):
    """Whoever asked may not write there any more."""


async def _as_server(deps: Deps, unit: UnitOfWork, channel_id: str) -> Change | None:
    """A channel for what the server itself stores there; None for one that is gone."""
    channel = await channels.repository.get(unit.connection, channel_id, lock=True)
    if channel is None or channel.deleted_at is not None:
        return None
    return Change(deps, unit, channel, await telling.hearers(unit, channel))


async def _put(
    change: Change, question: Question, text: str, output: list[Wire], problem: str | None, *, done: bool
) -> None:
    connection = change.unit.connection
    before = await channel_messages.get(connection, change.channel.id, question.answer_id)
    if before is None:
        # Somebody has removed it.
        if not done:
            raise _Barred
        return
    meta: Wire = dict(before.meta or {})
    if done:
        meta["done"] = True
    if problem is not None:
        meta["error"] = {"content": problem}
        text = f"{text}\n\n{problem}" if text else problem
    values = {"content": text, "data": {"output": output}, "meta": meta}
    await channel_messages.change(connection, question.answer_id, values)
    message = await channel_messages.get(connection, change.channel.id, question.answer_id)
    assert message is not None, "it was just changed"
    await change.tell_message("message:update", message, await channels.happens(connection, change.channel.id), None)


def _request(question: Question, asked: _Asked) -> ApiRequest:
    """What the model is asked: what was said before, the newest of it where it is much. Raises NotFound for an unknown model."""
    if not asked.is_there:
        raise NotFound(NOT_THERE)
    told: list[Wire] = []
    left = MOST_CHARS
    for message in reversed(asked.said):
        text = mentions.plain(message.content).strip()
        left -= len(text)
        if not text or (left < 0 and told):
            continue
        meta = message.meta or {}
        if meta.get("model_id") == question.model_id:
            told.append({"role": "assistant", "content": text})
        else:
            name = meta.get("model_name") or message.author["name"]
            told.append({"role": "user", "content": f"{name}: {text[-MOST_CHARS:]}"})
    told.append({"role": "system", "content": SYSTEM.format(name=asked.channel or "conversation")})
    files = [
        {"type": one["type"], "id": one["id"], "name": one.get("name", "")}
        for one in (asked.message.data or {}).get("files") or ()
        if isinstance(one, dict) and one.get("type") in {"file", "collection"} and isinstance(one.get("id"), str)
    ]
    body: Wire = {"model": question.model_id, "messages": told[::-1], "stream": True}
    return parse_api_request(body | ({"files": files} if files else {}))
