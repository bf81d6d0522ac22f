"""Two change one chat at once: nothing is lost, and what is stored is what one after the other would have stored."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from open_webui.chat.request import parse_page_request
from open_webui.chat.store import Stored, TurnStorage, store
from open_webui.config import DEFAULT_PERMISSIONS, permission_paths
from open_webui.env import Settings
from open_webui.errors import OuiError
from open_webui.internal.db import Database, open_database
from open_webui.models import accounts, chats, folders, generations, messages, tables, tags, turn_updates, users
from open_webui.models.base import new_id
from open_webui.principal import Principal
from open_webui.schemas.chats import ChatBody, EventForm, GrantsForm, MessageForm
from open_webui.services import affect, saving, sharing
from open_webui.services import chats as services
from open_webui.services.changes import change_chat
from tests.open_webui.chat.conftest import Notes
from tests.support.interleaving import both

PERSON = str(uuid.UUID(int=1))
MAY = permission_paths(DEFAULT_PERMISSIONS)
ANN = Principal(id=PERSON, role="user", name="Ann", email="ann@example.com", permissions=MAY)
BOB = Principal(id=str(uuid.UUID(int=2)), role="user", name="Bob", email="bob@example.com", permissions=MAY)


class Catalogue:
    """No model is known."""

    def find(self, _model_id: str) -> None:
        return None


class Nobody:
    """No message is being written by this process."""

    others = None

    async def owner_of(self, _chat_id: str, _message_id: str) -> None:
        return None


class Forgetful:
    """access.identify.Identifier: it remembers nothing that would have to be renewed."""

    async def renew(self, _user_ids: Any = None) -> None: ...


class House:
    """What the services ask of the state, over a real database."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.emitter = Notes()
        self.catalogue: Any = Catalogue()
        self.running = Nobody()
        self.identifier: Any = Forgetful()
        self.blobs: Any = None

    async def overlays(self, _chat_id: str) -> dict[str, dict[str, Any]]:
        return {}

    def active_chats(self) -> frozenset[str]:
        return frozenset()

    async def store_running(self, _chat_id: str) -> None:
        """No answer runs here."""


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    database = open_database(settings)
    async with database.write() as unit:
        for who in (ANN, BOB):
            values = {"id": who.id, "email": who.email, "name": who.name, "role": "user"}
            await users.insert(unit.connection, values)
            await accounts.insert_credential(unit.connection, who.id, None)
        for name in ("one", "two"):
            await folders.repository.create(unit.connection, ANN.id, {"name": name, "parent_id": None})
    yield House(settings, database)
    await database.close()


def message(i: str, parent: str | None, content: str, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"id": i, "parentId": parent, "role": role, "content": content, "childrenIds": [], "timestamp": 1} | more


DOCUMENT = [
    message("q1", None, "question one"),
    message("a1", "q1", "answer one", "assistant", done=True, model="m"),
    message("q2", "a1", "question two"),
    message("a2", "q2", "answer two", "assistant", done=True, model="m"),
]


async def new_chat(house: House) -> str:
    async with house.database.write() as unit:
        chat = await chats.create(
            unit.connection, ANN.id, title="Chat", body={"models": ["m"]}, messages=DOCUMENT, current_id="a2"
        )
        return chat.id


def body_of(chat: dict[str, Any], **more: Any) -> ChatBody:
    return ChatBody(chat={key: services.msgspec.Raw(services._encode(value)) for key, value in chat.items()}, **more)


def history_of(*wire: dict[str, Any]) -> dict[str, Any]:
    return {"history": {"currentId": wire[-1]["id"], "messages": {m["id"]: m for m in wire}}}


async def ask(house: House, chat_id: str, question: str, answer: str, parent: str, task: str) -> Stored:
    request = parse_page_request(
        {
            "model": "m", "session_id": "s", "id": answer, "chat_id": chat_id, "parent_id": parent,
            "user_message": {"id": question, "role": "user", "content": "more?", "parentId": parent},
        }
    )  # fmt: skip
    return await store(TurnStorage(house.database, "here", 10**6), ANN, request, [(request.asks[0], task)])


async def history(house: House, chat_id: str) -> dict[str, dict[str, Any]]:
    async with house.database.read() as connection:
        chat = await chats.own(connection, ANN.id, chat_id)
        assert chat is not None
        return await messages.history(connection, chat)


@pytest.mark.parametrize("stop_at", range(8))
async def test_a_save_does_not_remove_a_turn_that_is_stored_meanwhile(house: House, stop_at: int) -> None:
    chat_id = await new_chat(house)

    async def save() -> Any:
        return await saving.update(house, ANN, chat_id, body_of(history_of(*DOCUMENT)))

    async def turn() -> Any:
        return await ask(house, chat_id, "q3", "a3", "a2", "task")

    results = await both(house.database, save, turn, stop_at)
    assert [r for r in results if isinstance(r, BaseException)] == []
    assert list(await history(house, chat_id)) == ["q1", "a1", "q2", "a2", "q3", "a3"]
    async with house.database.read() as connection:
        assert await generations.running_messages(connection, chat_id) == {"a3"}


@pytest.mark.parametrize("event_first", [True, False])
@pytest.mark.parametrize("stop_at", range(8))
async def test_an_event_does_not_undo_the_end_of_an_answer(house: House, stop_at: int, event_first: bool) -> None:
    chat_id = await new_chat(house)
    row = (await ask(house, chat_id, "q3", "a3", "a2", "task")).answers["a3"]

    async def event() -> Any:
        return await services.add_event(house, ANN, chat_id, "a3", EventForm(type="status", data={"description": "x"}))

    async def end() -> None:
        """As the journal does it."""
        async with house.database.write() as unit:
            await turn_updates.touch(unit.connection, [chat_id])
            await messages.save_answers(unit.connection, [(row.n, "the whole answer", row.body, True)])
            await generations.end(unit.connection, ["task"])

    one, two = (event, end) if event_first else (end, event)
    results = await both(house.database, one, two, stop_at)
    assert [r for r in results if isinstance(r, BaseException)] == []
    found = (await history(house, chat_id))["a3"]
    assert (found["content"], found["done"]) == ("the whole answer", True)


@pytest.mark.parametrize("stop_at", range(6))
async def test_two_changes_of_parameters_are_both_kept(house: House, stop_at: int) -> None:
    chat_id = await new_chat(house)
    await both(
        house.database,
        lambda: services.set_params(house, ANN, chat_id, {"a": 1}),
        lambda: services.set_params(house, ANN, chat_id, {"b": 2}),
        stop_at,
    )
    async with house.database.read() as connection:
        chat = await chats.own(connection, ANN.id, chat_id)
    assert chat is not None
    assert chat.body["params"] == {"a": 1, "b": 2}


@pytest.mark.parametrize("stop_at", range(6))
async def test_a_right_that_is_taken_away_meanwhile_is_gone(house: House, stop_at: int) -> None:
    """Bob writes into a chat that is shared with him while Ann ends that: he comes before, or is refused."""
    chat_id = await new_chat(house)
    grant = {"principal_type": "user", "principal_id": BOB.id, "permission": "write"}
    may = MAY | {"access_grants.allow_users", "chat.share"}
    giving = Principal(id=ANN.id, role="user", name="Ann", email=ANN.email, permissions=may)
    await sharing.set_access(house, giving, chat_id, GrantsForm(access_grants=[grant], share_mode="continue"))
    ended, said = await both(
        house.database,
        lambda: sharing.set_access(house, giving, chat_id, GrantsForm(access_grants=[])),
        lambda: services.set_message(house, BOB, chat_id, "new", MessageForm(content="hello")),
        stop_at,
    )
    assert not isinstance(ended, BaseException)
    # Bob began before the end of the sharing or after it; in between there is nothing.
    assert isinstance(said, services.ChatRefused) == ("new" not in await history(house, chat_id))
    again = await both(
        house.database,
        lambda: services.set_message(house, BOB, chat_id, "late", MessageForm(content="hello")),
        lambda: services.find(house, BOB, chat_id),
        0,
    )
    assert all(isinstance(r, OuiError) for r in again)


# Any two changers of one chat

Changer = Callable[[House, str], Awaitable[Any]]


async def _ask(house: House, chat_id: str) -> Any:
    await ask(house, chat_id, "q3", "a3", "a2", new_id())


async def _ask_again(house: House, chat_id: str) -> Any:
    request = parse_page_request({"model": "m", "session_id": "s", "id": "a2", "chat_id": chat_id, "parent_id": "q2"})
    await store(TurnStorage(house.database, "here", 10**6), ANN, request, [(request.asks[0], new_id())])


async def _set_title(house: House, chat_id: str) -> Any:
    async with change_chat(house.database, None, chat_id) as (unit, chat):
        await turn_updates.set_title(unit.connection, chat, "Named")


async def _follow_ups(house: House, chat_id: str) -> Any:
    async with change_chat(house.database, None, chat_id) as (unit, chat):
        await turn_updates.patch_body(unit.connection, chat, "a2", {"followUps": ["so?"]})


async def _tags(house: House, chat_id: str) -> Any:
    async with change_chat(house.database, None, chat_id) as (unit, chat):
        await tags.replace(unit.connection, chat, ["Blue"])


async def _tag(house: House, chat_id: str) -> Any:
    async with change_chat(house.database, ANN, chat_id, "own") as (unit, chat):
        await tags.add(unit.connection, chat, ["Red"])


async def _untag(house: House, chat_id: str) -> Any:
    async with change_chat(house.database, ANN, chat_id, "own") as (unit, chat):
        await tags.remove(unit.connection, chat, "Blue")


async def _move(house: House, chat_id: str) -> Any:
    async with house.database.read() as connection:
        folder = (await folders.of_user(connection, ANN.id))[0]
    await services.change(house, ANN, chat_id, folder_id=folder.id, pinned=False)


async def _archive_all(house: House, _chat_id: str) -> Any:
    async with house.database.write() as unit:
        held = await chats.lock_all(unit.connection, ANN.id, "active")
        await chats.change_all(unit.connection, held, archived=True)


CHANGERS: dict[str, Changer] = {
    "ask": _ask,
    "ask again": _ask_again,
    "save a shorter document": lambda h, c: saving.update(h, ANN, c, body_of(history_of(*DOCUMENT[:2]))),
    "save another document": lambda h, c: saving.update(
        h, ANN, c, body_of(history_of(*DOCUMENT[:3], message("n", "q2", "new", "assistant", done=True, model="m")))
    ),
    "rename": lambda h, c: saving.update(h, ANN, c, body_of({"title": "Renamed", "x": 1})),
    "parameters": lambda h, c: services.set_params(h, ANN, c, {"a": 1}),
    "more parameters": lambda h, c: services.set_params(h, ANN, c, {"b": 2, "a": None}),
    "pin": lambda h, c: services.toggle(h, ANN, c, "pinned"),
    "archive": lambda h, c: services.toggle(h, ANN, c, "archived"),
    "archive all": _archive_all,
    "edit": lambda h, c: services.set_message(h, ANN, c, "a2", MessageForm(content="edited")),
    "voice": lambda h, c: services.set_message(h, ANN, c, "a2", MessageForm(voice={"v": 1})),
    "add a message": lambda h, c: services.set_message(h, ANN, c, "more", MessageForm(content="more")),
    "delete a message": lambda h, c: services.delete_message(h, ANN, c, "a1"),
    "status": lambda h, c: services.add_event(h, ANN, c, "a2", EventForm(type="status", data={"description": "s"})),
    "source": lambda h, c: services.add_event(h, ANN, c, "a2", EventForm(type="source", data={"source": {}})),
    "more text": lambda h, c: services.add_event(h, ANN, c, "a2", EventForm(type="message", data={"content": "+"})),
    "mood": lambda h, c: affect.change(h, ANN, c, {"enabled": True}),
    "persona": lambda h, c: affect.change(h, ANN, c, {"persona": "neutral"}),
    "share": lambda h, c: sharing.share(h, ANN, c, "continue"),
    "title of the server": _set_title,
    "follow-ups": _follow_ups,
    "tags of the server": _tags,
    "add a tag": _tag,
    "remove a tag": _untag,
    "move": _move,
    "delete": lambda h, c: services.delete(h, ANN, c),
}
# What differs between two runs whatever happened.
_FLEETING = {"id", "chat_id", "timestamp", "updated_at", "created_at", "share_id", "last_read_at", "task_id", "user"}


def _settled(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _settled(v) for k, v in value.items() if k not in _FLEETING}
    return [_settled(v) for v in value] if isinstance(value, list) else value


async def state_of(house: House, chat_id: str) -> Any:
    """All that is stored of a chat."""
    async with house.database.read() as connection:
        chat = await chats.own(connection, ANN.id, chat_id)
        if chat is None:
            return None
        document = await chats.document(connection, chat)
        names = sorted(tag.name for tag in await tags.of_chat(connection, chat_id))
        running = await generations.running_messages(connection, chat_id)
        rows = await connection.scalar(
            sa.select(sa.func.count()).select_from(tables.message).where(tables.message.c.chat_id == chat_id)
        )
    plain = services.msgspec.json.decode(services._encode(document))
    return _settled(plain), names, running, rows, sorted(plain["chat"]["history"]["messages"])


def _outcome(result: Any) -> str:
    if isinstance(result, BaseException) and not isinstance(result, OuiError):
        raise result
    return type(result).__name__ if isinstance(result, OuiError) else "done"


async def _after(house: House, *changers: Changer) -> Any:
    chat_id = await new_chat(house)
    outcomes = []
    for changer in changers:
        try:
            outcomes.append(_outcome(await changer(house, chat_id)))
        except OuiError as error:
            outcomes.append(_outcome(error))
    return outcomes, await state_of(house, chat_id)


@examples(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(CHANGERS)), st.sampled_from(sorted(CHANGERS)), st.integers(0, 9))
async def test_two_at_once_are_one_after_the_other(house: House, one: str, two: str, stop_at: int) -> None:
    first, second = CHANGERS[one], CHANGERS[two]
    chat_id = await new_chat(house)
    results = await both(house.database, lambda: first(house, chat_id), lambda: second(house, chat_id), stop_at)
    found = [_outcome(result) for result in results], await state_of(house, chat_id)
    forwards = await _after(house, first, second)
    outcomes, state = await _after(house, second, first)
    assert found in (forwards, (outcomes[::-1], state))
