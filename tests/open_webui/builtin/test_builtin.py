"""The built-in tools: who gets which, what they find, and that they find nothing of other people's."""

import datetime as dt
import importlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from open_webui.errors import BadRequest, NotFound
from open_webui.services.builtin.clock import back
from open_webui.services.builtin.row import BuiltIn
from open_webui.services.builtin.rows import ROWS
from open_webui.tools.port import Asked, ToolResult
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.chat.test_documents import put_base, put_file
from tests.support.live import Actor, Live
from tests.support.script import Finish, Text, ToolCall
from tests.support.upstream import Upstream

FRUIT = "The secret fruit is papaya. It grows on trees."
RIVER = "The Danube is a river.\nIt ends in the Black Sea."
CALLED = Finish("tool_calls")


class Quiet:
    """A progress that numbers sources."""

    def __init__(self) -> None:
        self.sources: list[dict[str, Any]] = []

    async def add_status(self, status: dict[str, Any]) -> None:
        raise AssertionError(status)

    async def add_source(self, source: dict[str, Any]) -> list[int]:
        self.sources.append(source)
        return [len(self.sources)]


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS")
    return await make_live(bypass_model_access_control=True)


@pytest.fixture
async def page(live: Live, user: Actor) -> AsyncIterator[Page]:
    async with open_page(user.client, user.token) as opened:
        yield opened


async def called(
    live: Live, actor: Actor, name: str, /, meta: dict[str, Any] | None = None, own: bool = True, **arguments: Any
) -> Any:
    """What a tool answers somebody, decoded; own: in a chat of theirs."""
    state = live.app.state.oui
    principal = await state.identify(actor.token)
    (row,) = [row for row in ROWS if row.name == name]
    tool = BuiltIn(row, state, Asked(principal=principal, meta=meta or {}, is_own=own))
    given: ToolResult = await tool.run(arguments, Quiet())
    return json.loads(given.text)


def offered(upstream: Upstream) -> list[str]:
    return [tool["function"]["name"] for tool in upstream.chats[-1].body.get("tools", ())]


async def answered(page: Page, model: str = "rounds", **fields: Any) -> dict[str, Any]:
    body = page.ask(model, "What time is it?", **fields)
    reply = await page.post(body)
    await page.idle(reply["chat_id"])
    return await page.message(reply["chat_id"], body["id"])


def test_each_row_has_a_function_and_a_whole_description() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        module, _, name = row.run.partition(".")
        assert callable(getattr(importlib.import_module(f"open_webui.services.builtin.{module}"), name))
        assert set(row.required) <= set(row.parameters)
        assert all(schema.get("description") for schema in row.parameters.values()), row.name


async def test_a_model_calls_what_nobody_chose(page: Page, upstream: Upstream) -> None:
    upstream.rounds = [
        [ToolCall("get_current_timestamp", ("{}",), "c1"), CALLED],
        [Text("It is late."), Finish("stop")],
    ]
    message = await answered(page)
    (result,) = [item for item in message["output"] if item["type"] == "function_call_output"]
    assert abs(json.loads(result["output"][0]["text"])["timestamp"] - dt.datetime.now(dt.UTC).timestamp()) < 60
    assert message["content"] == "It is late."
    names = offered(upstream)
    assert {"get_current_timestamp", "search_chats", "query_knowledge_files"} <= set(names)
    # The web is searched only where the person switched that on, and the server has it on.
    assert not {"search_web", "fetch_url"} & set(names)


async def test_a_model_that_takes_no_tools_is_asked_without_and_not_offered_them_again(
    page: Page, upstream: Upstream
) -> None:
    upstream.refuses = "tools"
    assert (await answered(page, "fixed"))["done"] is True
    assert [bool(chat.body.get("tools")) for chat in upstream.chats] == [True, False]
    message = await answered(page, "fixed")
    assert (message["content"] != "", message.get("error")) == (True, None)
    assert [bool(chat.body.get("tools")) for chat in upstream.chats] == [True, False, False]


async def test_another_error_is_no_refusal_of_tools(page: Page, upstream: Upstream) -> None:
    upstream.refuses = "stream"
    message = await answered(page, "fixed")
    assert "stream" in message["error"]["content"]
    assert all(chat.body.get("tools") for chat in upstream.chats)


@pytest.mark.parametrize(
    "meta",
    [
        {"capabilities": {"builtin_tools": False}},
        {"builtinTools": dict.fromkeys(("time", "asking", "tasks", "chats", "knowledge", "notes", "calendar"), False)},
        {
            "builtinTools": dict.fromkeys(
                ("time", "user_input", "tasks", "chats", "knowledge", "notes", "calendar"), False
            )
        },
    ],
)
async def test_a_models_settings_switch_them_off(
    live: Live, admin: Actor, page: Page, upstream: Upstream, meta: dict[str, Any]
) -> None:
    body = {"id": "plain", "base_model_id": "fixed", "name": "Plain", "meta": meta, "params": {}}
    reply = await admin.client.post("/api/v1/models/create", json=body)
    assert reply.status_code == 200, reply.text
    await answered(page, "plain")
    assert offered(upstream) == []


async def test_the_legacy_way_and_the_setting_switch_them_off(live: Live, page: Page, upstream: Upstream) -> None:
    await answered(page, "fixed", params={"function_calling": "legacy"})
    assert offered(upstream) == []
    await live.app.state.oui.save_config({"tools.builtin.enable": False})
    await answered(page, "fixed")
    assert offered(upstream) == []


async def test_knowledge_is_found_and_read_by_its_reader_only(
    live: Live, user: Actor, admin: Actor, other: Actor
) -> None:
    await put_file(live, user, "f1", FRUIT, name="fruit.txt")
    await put_file(live, user, "f2", RIVER, name="river.txt")
    await put_base(live, user, "nature", "f1", "f2")
    assert [base["id"] for base in await called(live, user, "list_knowledge_bases")] == ["nature"]
    assert [base["id"] for base in await called(live, user, "search_knowledge_bases", query="natu")] == ["nature"]
    assert [base["id"] for base in await called(live, user, "query_knowledge_bases", query="papaya")] == ["nature"]
    assert [f["name"] for f in await called(live, user, "search_knowledge_files", query="fru")] == ["fruit.txt"]
    hit, *_ = await called(live, user, "query_knowledge_files", query="Which fruit is secret?")
    assert (hit["file_id"], hit["text"], hit["cite_as"]) == ("f1", FRUIT, "[1]")
    lines = await called(live, user, "grep_knowledge_files", pattern="DANUBE|papaya")
    assert sorted((line["name"], line["line"]) for line in lines["lines"]) == [("fruit.txt", 1), ("river.txt", 1)]
    assert await called(live, user, "grep_knowledge_files", pattern="danube", case_insensitive=False) == {
        "count": 0, "lines": [],
    }  # fmt: skip
    viewed = await called(live, user, "view_knowledge_file", file_id="f2", start_line=2, line_numbers=True)
    assert viewed["content"] == "2: It ends in the Black Sea."
    for tool, arguments in (
        ("list_knowledge_bases", {}),
        ("query_knowledge_files", {"query": "papaya"}),
        ("query_knowledge_files", {"query": "papaya", "knowledge_ids": ["nature"]}),
        ("query_knowledge_bases", {"query": "papaya"}),
        ("search_knowledge_files", {"query": "fruit"}),
    ):
        assert await called(live, other, tool, **arguments) == []
    assert (await called(live, other, "grep_knowledge_files", pattern="papaya", file_id="f1"))["count"] == 0
    with pytest.raises(Exception, match="no such file"):
        await called(live, other, "view_knowledge_file", file_id="f1")


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_in_somebody_elses_chat_knowledge_is_what_comes_with_the_model(live: Live, user: Actor) -> None:
    for name, text in (("f1", FRUIT), ("f2", RIVER)):
        await put_file(live, user, name, text, name=f"{name}.txt")
    await put_base(live, user, "nature", "f1")
    await put_base(live, user, "secret", "f2")

    async def found(name: str, **arguments: Any) -> Any:
        meta = {"knowledge": [{"type": "collection", "id": "nature"}, {"type": "collection", "id": "gone"}]}
        return await called(live, user, name, meta=meta, own=False, **arguments)

    assert [base["id"] for base in await found("list_knowledge_bases")] == ["nature"]
    assert [base["id"] for base in await found("search_knowledge_bases", query="SECRET")] == []
    assert [base["id"] for base in await found("search_knowledge_bases", query="NATU")] == ["nature"]
    assert [base["id"] for base in await found("query_knowledge_bases", query="Danube papaya")] == ["nature"]
    assert [one["id"] for one in await found("search_knowledge_files", query="txt")] == ["f1"]
    assert await found("search_knowledge_files", query="txt", knowledge_id="secret") == []
    assert {hit["file_id"] for hit in await found("query_knowledge_files", query="Danube papaya")} == {"f1"}
    assert await found("query_knowledge_files", query="Danube", knowledge_ids=["secret"]) == []
    assert (await found("grep_knowledge_files", pattern="danube", case_insensitive=True))["count"] == 0
    assert (await found("view_knowledge_file", file_id="f1"))["content"] == FRUIT
    for tool, arguments in (("view_knowledge_file", {}), ("grep_knowledge_files", {"pattern": "Danube"})):
        with pytest.raises(Exception, match="no such file"):
            await found(tool, file_id="f2", **arguments)
    # The same person, in a chat of their own and with a model that brings nothing.
    assert {base["id"] for base in await called(live, user, "list_knowledge_bases")} == {"nature", "secret"}


async def test_chats_are_found_and_read_by_their_owner_only(live: Live, page: Page, user: Actor, other: Actor) -> None:
    body = page.ask("fixed", "The zebra crossed the road")
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    (hit,) = await called(live, user, "search_chats", query="zebra")
    assert hit["id"] == chat_id
    assert await called(live, user, "search_chats", query="zebra", end_timestamp=1) == []
    assert "USER: The zebra crossed the road" in (await called(live, user, "view_chat", chat_id=chat_id))["content"]
    assert await called(live, other, "search_chats", query="zebra") == []
    with pytest.raises(Exception, match="no such chat"):
        await called(live, other, "view_chat", chat_id=chat_id)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search_chats", {}),
        ("search_chats", {"query": 3}),
        ("view_chat", {"chat_id": ["a"]}),
        ("query_knowledge_files", {"query": "a", "knowledge_ids": "nature"}),
        ("calculate_timestamp", {"years_ago": 90_000}),
    ],
)
async def test_wrong_arguments_are_a_sentence(live: Live, user: Actor, tool: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"should be|no date"):
        await called(live, user, tool, **arguments)


@pytest.mark.parametrize(
    ("months", "days", "expected"),
    [(1, 0, "2026-02-28"), (13, 0, "2025-02-28"), (0, 31, "2026-02-28"), (3, 1, "2025-12-30")],
)
def test_time_goes_back_by_the_calendar(months: int, days: int, expected: str) -> None:
    when = dt.datetime(2026, 3, 31, tzinfo=dt.UTC)
    assert back(when, days=days, months=months).date().isoformat() == expected


async def uploaded(actor: Actor, text: str) -> str:
    reply = await actor.client.post("/api/v1/files/?process=false", files={"file": ("a.txt", text.encode())})
    assert reply.status_code == 200, reply.text
    file_id: str = reply.json()["id"]
    return file_id


async def test_a_kept_result_is_read_by_who_has_it(live: Live, user: Actor, admin: Actor) -> None:
    file_id = await uploaded(user, "0123456789" * 10)
    page = await called(live, user, "read_tool_result", id=file_id, offset=95)
    assert page == {"content": "56789", "offset": 95, "length": 100, "next_offset": None}
    page = await called(live, user, "read_tool_result", id=file_id, offset=10**30, max_chars=-1)
    assert (page["content"], page["offset"], page["next_offset"]) == ("", 100, None)
    other = await uploaded(admin, "secret")
    for wrong in (other, "00000000-0000-4000-8000-000000000000", "x\x00y", "../../etc"):
        with pytest.raises(NotFound, match="no such result"):
            await called(live, user, "read_tool_result", id=wrong)


QUESTIONS = [{"id": "when", "header": "When", "question": "When?", "options": [{"label": "Now"}, "Later"]}, "Why?"]


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ({"status": "answered", "answers": {"when": {"type": "option", "option_index": 1, "label": "Later"},
                                            "question_2": {"type": "other", "text": " So. "}, "odd": {"text": "x"}}},
         {"status": "answered", "answers": {"when": "Later", "question_2": "So."}}),
        ({"status": "cancelled", "answers": {}}, {"status": "cancelled", "answers": {}}),
        (None, {"status": "cancelled", "answers": {}}),
        ("yes", {"status": "cancelled", "answers": {}}),
        ({"status": "answered", "answers": {"when": {"text": 7}}}, {"status": "answered", "answers": {}}),
    ],
)  # fmt: skip
async def test_a_model_asks_the_person(live: Live, user: Actor, says: Any, told: dict[str, Any]) -> None:
    progress = Answers(says)
    state = live.app.state.oui
    (row,) = [row for row in ROWS if row.name == "ask_user"]
    tool = BuiltIn(row, state, Asked(principal=await state.identify(user.token)))
    given = json.loads((await tool.run({"questions": QUESTIONS, "timeout_ms": 1}, progress)).text)
    assert {name: given[name] for name in told} == told
    ((kind, data, seconds),) = progress.asked
    assert (kind, data["timeout_ms"], seconds) == ("request:user_input", 5_000, 5.0)
    first, second = data["questions"]
    assert first["options"] == [{"label": "Now", "description": ""}, {"label": "Later", "description": ""}]
    assert second == {
        "id": "question_2",
        "header": "Question 2",
        "question": "Why?",
        "options": [],
        "allow_other": True,
    }


class Answers(Quiet):
    """A progress whose page answers."""

    def __init__(self, says: Any) -> None:
        super().__init__()
        self.says = says
        self.asked: list[tuple[str, dict[str, Any], float]] = []

    async def ask(self, kind: str, data: dict[str, Any], *, seconds: float) -> Any:
        self.asked.append((kind, data, seconds))
        return self.says


@pytest.mark.parametrize(
    "questions", [None, [], "When?", [7], [{"question": " "}], [{"question": "a", "options": 7}], ["q"] * 11,
                  [{"question": "a", "options": [{"label": ""}]}], [{"question": "a", "options": ["o"] * 11}]]
)  # fmt: skip
async def test_odd_questions_are_refused(live: Live, user: Actor, questions: Any) -> None:
    with pytest.raises(BadRequest):
        await called(live, user, "ask_user", questions=questions)


async def test_a_list_of_tasks_is_shown_and_kept_with_the_chat(page: Page, upstream: Upstream) -> None:
    tasks = json.dumps({"tasks": [{"id": "a", "content": "Look"}, {"content": "Wri\x00te"}]})
    upstream.rounds = [
        [ToolCall("create_tasks", (tasks,), "c1"), CALLED],
        [ToolCall("update_task", ('{"id": "a", "status": "completed"}',), "c2"),
         ToolCall("update_task", ('{"id": "z", "status": "completed"}',), "c3"),
         ToolCall("update_task", ('{"id": "a", "status": "done"}',), "c4"), CALLED],
        [Text("Begun."), Finish("stop")],
    ]  # fmt: skip
    body = page.ask("rounds", "Do it")
    reply = await page.post(body)
    await page.idle(reply["chat_id"])
    expected = [
        {"id": "a", "content": "Look", "status": "completed"},
        {"id": "2", "content": "Write", "status": "pending"},
    ]
    assert page.data("chat:message:tasks")[-1] == {"tasks": expected}
    assert (await page.stored(reply["chat_id"]))["tasks"] == expected
    message = await page.message(reply["chat_id"], body["id"])
    said = [i["output"][0]["text"] for i in message["output"] if i["type"] == "function_call_output"]
    assert "There is no task 'z' in this chat. There are: a, 2." in said
    assert any("'status' should be one of" in text for text in said)


@pytest.mark.parametrize("tasks", [None, "a", [7], [{"content": ""}], ["t"] * 51])
async def test_odd_tasks_are_refused(live: Live, user: Actor, tasks: Any) -> None:
    with pytest.raises(BadRequest):
        await called(live, user, "create_tasks", tasks=tasks)


async def test_a_temporary_chat_has_no_list_of_tasks(page: Page, upstream: Upstream) -> None:
    upstream.rounds = [[Text("Hi."), Finish("stop")]]
    body = page.ask("rounds", "Hi", chat_id=f"temporary:{page.sid}")
    body["messages"] = [{"role": "user", "content": "Hi"}]
    await page.post(body)
    await page.idle(body["chat_id"])
    names = offered(upstream)
    assert "ask_user" in names
    assert "create_tasks" not in names
