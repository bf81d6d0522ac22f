"""Models that have code run: who may, by which engine, what becomes of files and pictures."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.models import generation_parts, tables
from open_webui.services.code import inputs
from open_webui.services.code.port import Ran, Run
from open_webui.services.code.sandbox import Sandbox
from open_webui.utils.answer_parts import apply_frames
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.chat.test_documents import put_file
from tests.open_webui.tools.talking import PATIENCE, files, outputs, say
from tests.support.live import Actor, Live
from tests.support.script import Finish, Text, ToolCall
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.timeout(180), pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)]
ON = {"code_interpreter": True}
DRAWS = """
from PIL import Image
Image.effect_noise((60, 60), 50).save('noise.png')
open('table.csv', 'w').write('a,b')
print(open('fruit.txt').read())
"""


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS")
    return await make_live(bypass_model_access_control=True)


def code(text: str) -> ToolCall:
    return ToolCall("execute_code", (json.dumps({"code": text}),), "c1")


def offered(upstream: Upstream) -> bool:
    return "execute_code" in {tool["function"]["name"] for tool in upstream.chats[-1].body.get("tools", ())}


async def asked(actor: Actor, upstream: Upstream, *calls: ToolCall, **fields: Any) -> dict[str, Any]:
    return await say(actor, upstream, *calls, tool_ids=(), **({"features": ON} | fields))


async def test_a_model_has_code_run_and_files_are_the_askers(
    live: Live, user: Actor, other: Actor, upstream: Upstream
) -> None:
    fruit = await put_file(live, user, "f1", "papaya", name="fruit.txt")
    message = await asked(user, upstream, code(DRAWS), files=[fruit])
    (text,) = outputs(message)
    given = json.loads(text)
    assert given["stdout"] == "papaya\n", given
    assert "base64" not in json.dumps(message)
    ((picture,),) = files(message)
    assert (picture["type"], picture["name"]) == ("image", "noise.png")
    (table,) = message["files"]
    assert {entry["url"] for entry in given["files"]} == {picture["url"], table["url"]}
    for entry, content in ((picture, b"\x89PNG"), (table, b"a,b")):
        got = await user.client.get(entry["url"])
        assert (got.status_code, got.content[:4]) == (200, content[:4])
        assert (await other.client.get(entry["url"])).status_code == 404


async def test_only_files_that_the_person_may_read_are_given(live: Live, user: Actor, other: Actor) -> None:
    state = live.app.state.oui
    names = [f"{'x' * 200}.csv", "../../etc/passwd", "a.csv", "a.csv", "", "odd\n\x00name?.csv"]
    entries = [await put_file(live, user, f"f{n}", "1", name=name) for n, name in enumerate(names)]
    entries += [await put_file(live, other, "foreign", "secret"), {"type": "collection", "id": "f1"}, {"id": 7}, {}]
    entries += [{"type": "file", "id": "a\x00b"}, {"type": "file", "id": "x" * 10**6}]
    wanted = inputs.ids_of(entries)
    given, notes = await inputs.read(state, await state.identify(user.token), wanted, ["a.csv"])
    named = [given[f"f{n}"].name for n in range(len(names))]
    assert named == [f"{'x' * 79}.csv", "passwd", "a (2).csv", "a (3).csv", "f4.txt", "odd__name_.csv"]
    assert (len(given), notes) == (len(names), [])


OPEN = '<code_interpreter type="code" lang="python">'


async def written(actor: Actor, upstream: Upstream, code: str, **fields: Any) -> tuple[Page, dict[str, Any], str]:
    """What an answer becomes in which a model without tools writes code; the page that asked, and the chat's id."""
    said = [Text("Let me see. <code_inter"), Text(f"preter{OPEN[17:]}\n{code}\n</code_interpreter> It is 41.")]
    upstream.rounds = [[*said, Finish("stop")], [Text("It is 42."), Finish("stop")]]
    async with open_page(actor.client, actor.token) as page:
        body = page.ask("rounds", "Compute.", features=ON, **fields)
        chat_id = (await page.post(body))["chat_id"]
        await page.idle(chat_id, PATIENCE)
        return page, await page.message(chat_id, body["id"]), chat_id


@pytest.mark.parametrize("way", ["legacy", "refuses", "off"])
async def test_a_model_without_tools_writes_it_between_tags(
    live: Live, user: Actor, upstream: Upstream, way: str
) -> None:
    if way == "refuses":
        upstream.refuses = "tools"
    if way == "off":
        await live.app.state.oui.save_config({"tools.builtin.enable": False})
    params = {"function_calling": "legacy"} if way == "legacy" else {}
    page, message, chat_id = await written(user, upstream, f"{DRAWS}\n6 * 7", params=params)
    first, code, last = message["output"]
    assert (first["content"][0]["text"], last["content"][0]["text"]) == ("Let me see. ", "It is 42.")
    assert (code["type"], code["status"], code["lang"]) == ("open_webui:code_interpreter", "completed", "python")
    assert "FileNotFoundError" in code["output"]["stderr"]
    assert code["code"].endswith("6 * 7")
    assert {file["type"] for file in message["files"]} == {"image", "file"}
    assert "base64" not in json.dumps(message)
    # The frames that were told make the same.
    assert apply_frames([], page.data("response:completion")) == [
        {**item, "status": "in_progress"} if item["type"] == "message" else item for item in message["output"]
    ]
    before, after = [chat.body["messages"] for chat in upstream.chats[-2:]]
    assert OPEN in before[0]["content"]
    assert [message["role"] for message in after] == ["system", "user", "assistant", "user"]
    assert after[2]["content"].startswith(f"Let me see. {OPEN}")
    assert "FileNotFoundError" in after[3]["content"]
    # The next question tells it again, in the same form.
    async with open_page(user.client, user.token) as page:
        body = page.ask("rounds", "And?", chat_id=chat_id, parent_id=message["id"], params=params)
        await page.post(body)
        await page.idle(chat_id, PATIENCE)
    roles = [message["role"] for message in upstream.chats[-1].body["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]


async def test_code_is_on_record_before_it_runs(
    live: Live, user: Actor, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does can't be undone: a crash in the middle leaves what was run."""
    found: list[Any] = []

    async def run(_self: Sandbox, _run: Run) -> Ran:
        async with live.app.state.oui.database.read() as connection:
            chat_id = await connection.scalar(sa.select(tables.generation.c.chat_id))
            found.append(await generation_parts.so_far(connection, chat_id))
        return Ran(result="42")

    monkeypatch.setattr(Sandbox, "run", run)
    _, message, _ = await written(user, upstream, "print('here')", params={"function_calling": "legacy"})
    assert len(found) == 1
    assert "print('here')" in str(found[0])
    assert message["output"][1]["output"]["result"] == "42"


async def test_code_that_was_broken_off_is_said_and_not_run(user: Actor, upstream: Upstream) -> None:
    upstream.rounds = [[Text(f"See {OPEN}\nimport shutil"), Finish("length")]]
    async with open_page(user.client, user.token) as page:
        body = page.ask("rounds", "Compute.", features=ON, params={"function_calling": "legacy"})
        chat_id = (await page.post(body))["chat_id"]
        await page.idle(chat_id, PATIENCE)
        message = await page.message(chat_id, body["id"])
    assert message["content"] == f"See {OPEN}\nimport shutil"
    assert [item["type"] for item in message["output"]] == ["message"]
    assert len([chat for chat in upstream.chats if chat.body.get("stream")]) == 1


async def test_a_stop_ends_code_and_the_item_says_so(user: Actor, upstream: Upstream) -> None:
    upstream.rounds = [[Text(f"{OPEN}while True: pass</code_interpreter>"), Finish("stop")]]
    async with open_page(user.client, user.token) as page:
        body = page.ask("rounds", "Compute.", features=ON, params={"function_calling": "legacy"})
        chat_id = (await page.post(body))["chat_id"]

        def runs(page: Page) -> bool:
            return any(data.get("type") == "response.output_item.added" for data in page.data("response:completion"))

        await page.until(runs, PATIENCE)
        assert (await user.client.post(f"/api/tasks/chat/{chat_id}/stop")).status_code == 200
        message = await page.message(chat_id, body["id"])
    (code,) = message["output"]
    assert (code["status"], code["output"], message["done"]) == ("incomplete", None, True)


async def test_who_may_not_is_not_told_how(live: Live, user: Actor, upstream: Upstream) -> None:
    await live.app.state.oui.save_config({"code_interpreter.enable": False})
    _, message, _ = await written(user, upstream, "1", params={"function_calling": "legacy"})
    assert OPEN in message["content"]
    assert [message["role"] for message in upstream.chats[-1].body["messages"]] == ["user"]


async def test_what_is_wrong_is_told_to_the_model(user: Actor, upstream: Upstream) -> None:
    message = await asked(user, upstream, code("1 / 0"))
    assert "ZeroDivisionError" in json.loads(outputs(message)[0])["stderr"]
    assert message["content"] == "Done."
    assert outputs(await asked(user, upstream, ToolCall("execute_code", ('{"code": " "}',), "c1"))) == [
        "'code' should be a text."
    ]


async def test_it_is_offered_where_it_was_switched_on(
    live: Live, admin: Actor, user: Actor, upstream: Upstream
) -> None:
    await asked(user, upstream, features={})
    assert not offered(upstream)
    await asked(user, upstream)
    assert offered(upstream)
    for section, switch in ({"code_interpreter.enable": False}, True), ({"code_interpreter.enable": True}, False):
        await live.app.state.oui.save_config(section)
        permissions = (await admin.client.get("/api/v1/users/default/permissions")).json()
        permissions["features"]["code_interpreter"] = switch
        await admin.client.post("/api/v1/users/default/permissions", json=permissions)
        await asked(user, upstream)
        assert not offered(upstream)


@pytest.mark.parametrize(
    "meta", [{"capabilities": {"code_interpreter": False}}, {"builtinTools": {"code_interpreter": False}}]
)
async def test_a_model_may_be_kept_from_it(admin: Actor, upstream: Upstream, meta: dict[str, Any]) -> None:
    body = {"id": "plain", "base_model_id": "rounds", "name": "Plain", "meta": meta, "params": {}}
    assert (await admin.client.post("/api/v1/models/create", json=body)).status_code == 200
    await asked(admin, upstream, model="plain")
    assert not offered(upstream)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"stdout": "hi\n", "stderr": None, "result": 4}, {"stdout": "hi\n", "result": "4"}),
        ({"stdout": "a\ndata:image/png;base64,AAAA\nb"}, {"stdout": "a\nb"}),
        ({"error": "worker gone"}, {"stdout": "", "stderr": "worker gone"}),
        (None, "The page has no Python to run code with."),
    ],
)
async def test_the_page_runs_it(live: Live, user: Actor, upstream: Upstream, answer: Any, expected: Any) -> None:
    await live.app.state.oui.save_config({"code_interpreter.engine": "pyodide"})
    heard = []

    def answers(data: dict[str, Any]) -> Any:
        if data["type"] != "execute:python":
            return None
        heard.append(data["data"])
        return answer

    message = await asked(user, upstream, code("2 + 2"), answers=answers)
    (text,) = outputs(message)
    assert (text if isinstance(expected, str) else json.loads(text)) == expected
    (call,) = heard
    assert (call.keys(), call["code"], call["files"]) == ({"id", "code", "session_id", "files"}, "2 + 2", [])


async def test_a_page_that_is_gone_is_said(live: Live, user: Actor, upstream: Upstream) -> None:
    await live.app.state.oui.save_config({"code_interpreter.engine": "pyodide"})
    message = await asked(user, upstream, code("1"), session_id="gone")
    assert "none is open" in outputs(message)[0]
