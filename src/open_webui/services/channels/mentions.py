"""Whom a message mentions: models answer in the channel by a job each (`chat/channel_answers.py`), people are told elsewhere."""

import re
import time
import uuid
from typing import Final

import msgspec

from open_webui.errors import TooManyRequests
from open_webui.models import channels, jobs
from open_webui.models.base import new_id
from open_webui.models.channel_messages import Message
from open_webui.principal import Principal
from open_webui.services import notifications
from open_webui.services.channels.telling import Change, is_on

# As pages write it: what is mentioned, its id, and how it is called.
_MENTION: Final = re.compile(r"<@M:([^|>\x00-\x1f]{1,255})(?:\|[^>]{0,300})?>")
_APP: Final = re.compile(r"<@A:([^|>\x00-\x1f]{1,255})(?:\|[^>]{0,300})?>")
_PERSON: Final = re.compile(r"<@U:([^|>\x00-\x1f]{1,255})(?:\|[^>]{0,300})?>")
# People whom one message tells, and characters of it that they are told.
MOST_PEOPLE: Final = 20
MOST_TOLD: Final = 500
TITLE: Final = "{} mentioned you in {}"
# Models that one message asks, and answers that somebody waits for in all channels.
MOST_MODELS: Final = 3
MOST_WAITING: Final = 4
BUSY: Final = "Models are still answering you in channels. Wait until they are done, or mention none."
KIND: Final = "answer in a channel"


class Question(msgspec.Struct, frozen=True):
    """The payload of the job. answer_id: the message that the answer is written into, once there is one."""

    channel_id: str
    message_id: str
    model_id: str
    user_id: str
    answer_id: str


def models_in(text: str) -> list[str]:
    """The ids of the models that a text mentions, each once."""
    return list(dict.fromkeys(found[1] for found in _MENTION.finditer(text)))[:MOST_MODELS]


def apps_in(text: str) -> frozenset[str]:
    """The ids of the apps that a text mentions."""
    return frozenset(found[1] for found in _APP.finditer(text))


def people_in(text: str) -> list[str]:
    """The ids of the people whom a text mentions, each once."""
    return list(dict.fromkeys(found[1] for found in _PERSON.finditer(text)))[:MOST_PEOPLE]


async def tell(change: Change, principal: Principal, message: Message) -> None:
    """Has the people told whom a new message mentions, where they want to be: those who may read it and did not mute the channel.

    With the unit of work that stores the message.
    """
    deps, channel, connection = change.deps, change.channel, change.unit.connection
    wanted = [user_id for user_id in people_in(message.content) if user_id != principal.id]
    muting = await channels.muting(connection, channel.id, wanted) if wanted else set()
    people = []
    for user_id in wanted:
        person = None if user_id in muting else await deps.identifier.account(user_id)
        if person is None or not person.is_active or not is_on(deps, person):
            continue
        if await channels.readable(connection, person, channel.id):
            people.append(person)
    if not people:
        return
    name = channel.name if channel.type != "dm" else "a conversation"
    told = notifications.Message(
        id=new_id(),
        event=notifications.MENTION,
        title=TITLE.format(principal.name, name)[: notifications.MAX_TITLE],
        text=plain(message.content)[:MOST_TOLD],
        path=f"/channels/{channel.id}",
        at=int(time.time()),
        subject={"type": "channel", "id": channel.id, "message_id": message.id},
    )
    await deps.notifier.put_in(change.unit, people, told)


def plain(text: str) -> str:
    """The text without the marks of mentions, as a model reads it."""
    return re.sub(r"<[@#][A-Z]:[^|>]{1,255}\|([^>]{0,300})>", r"@\1", text)


async def ask(change: Change, principal: Principal, message: Message) -> None:
    """Puts the questions to the models of a new message in, with the unit of work that stores it. Raises TooManyRequests."""
    kind = change.deps.jobs.kinds.get(KIND)
    # They answer in the account's name: what an API key is kept to counts here.
    wanted = [model_id for model_id in models_in(message.content) if principal.may_ask(model_id)]
    if kind is None or not wanted:
        return
    theirs = f"answer:{principal.id}:"
    if await jobs.count_live(change.unit.connection, theirs) + len(wanted) > MOST_WAITING:
        raise TooManyRequests(BUSY)
    for model_id in wanted:
        question = Question(change.channel.id, message.id, model_id, principal.id, answer_id_of(message.id, model_id))
        await change.deps.jobs.enqueue(change.unit, kind, question, key=f"{theirs}{question.answer_id}")


def answer_id_of(message_id: str, model_id: str) -> str:
    """The id of a model's answer to a message: another attempt writes into the same one."""
    return str(uuid.uuid5(uuid.UUID("6f75692d-6368-4e61-8000-616e73776572"), f"{message_id}/{model_id}"))
