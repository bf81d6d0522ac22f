"""Pipelines servers: what admins do with them, and their filters around answers."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from open_webui.chat import reading
from open_webui.connections import known_filters, pipelines
from open_webui.connections.base import ModelEntry
from open_webui.models import configs
from tests.open_webui.chat.page import ALL_TASKS, open_page
from tests.support.live import Actor, Live
from tests.support.pipelines_server import KEY, SPEC, PipelinesServer, open_pipelines_server
from tests.support.upstream import Upstream


@pytest.fixture
def database_kind() -> str:
    """Nothing here depends on it."""
    return "sqlite"


API = "/api/v1/pipelines"


@pytest.fixture
async def server() -> AsyncIterator[PipelinesServer]:
    async with open_pipelines_server() as found:
        yield found


async def connect(live: Live, admin: Actor, upstream: Upstream, server: PipelinesServer) -> None:
    """Makes it the second connection, and opens its models to everybody."""
    urls = {"OPENAI_API_BASE_URLS": [upstream.openai_url, server.url], "OPENAI_API_KEYS": ["sk-upstream", KEY]}
    form = {"ENABLE_OPENAI_API": True, "OPENAI_API_CONFIGS": {}} | urls
    reply = await admin.client.post("/openai/config/update", json=form)
    assert reply.status_code == 200, reply.text
    await live.app.state.oui.catalogue.wait_for_lists(refresh=True)


@pytest.fixture
def connections(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set by the admin here: what the environment fixes can't be changed."""
    monkeypatch.setenv("ENABLE_BUILTIN_TOOLS", "false")


def added(text: str) -> dict[str, Any]:
    """What a filter does that adds a text to the last question, and the asker's name to each answer."""

    def inlet(body: dict[str, Any], _user: dict[str, Any]) -> dict[str, Any]:
        body["messages"][-1]["content"] += text
        return body | {"temperature": 0.5, "model": "another"}

    def outlet(body: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
        body["messages"][-1]["content"] += f" [{text} {user['name']}]"
        return body

    return {"inlet": inlet, "outlet": outlet}


def refusing(status: int, body: Any) -> Any:
    def look(_body: dict[str, Any], _user: dict[str, Any]) -> web.Response:
        return web.json_response(body, status=status)

    return look


async def said(actor: Actor, text: str = "Hello", model: str = "echo", **fields: Any) -> dict[str, Any]:
    async with open_page(actor.client, actor.token) as page:
        body = page.ask(model, text, **fields)
        chat_id = (await page.post(body))["chat_id"]
        await page.idle(chat_id)
        return await page.message(chat_id, body["id"])


async def test_an_admin_looks_after_a_server(
    live: Live, admin: Actor, user: Actor, upstream: Upstream, server: PipelinesServer
) -> None:
    client = admin.client
    assert (await client.get(f"{API}/list")).json() == {"data": []}
    server.add_filter("words", added("!"), pipelines=["*"])
    await connect(live, admin, upstream, server)
    assert (await client.get(f"{API}/list")).json() == {"data": [{"url": server.url, "idx": 1}]}
    listed = (await client.get(f"{API}/", params={"urlIdx": 1})).json()["data"]
    assert [row["id"] for row in listed] == ["talker", "words"]
    at = {"urlIdx": 1}
    assert (await client.get(f"{API}/talker/valves", params=at)).json() == {"limit": 3}
    assert (await client.get(f"{API}/talker/valves/spec", params=at)).json() == SPEC
    changed = await client.post(f"{API}/talker/valves/update", params=at, json={"limit": 9})
    assert (changed.status_code, changed.json()) == (200, {"limit": 9})
    reply = await client.post(f"{API}/add", json={"url": "https://example.com/a.py", "urlIdx": 1})
    assert (reply.status_code, server.asked("/pipelines/add")) == (200, [{"url": "https://example.com/a.py"}])
    sent = await client.post(f"{API}/upload", data={"urlIdx": "1"}, files={"file": ("a/b.py", b"class Pipeline: ...")})
    assert sent.status_code == 200, sent.text
    assert server.asked("/pipelines/upload") == [("b.py", b"class Pipeline: ...")]
    gone = await client.request("DELETE", f"{API}/delete", json={"id": "talker", "urlIdx": 1})
    assert gone.json() == {"status": True}
    gone = await client.request("DELETE", f"{API}/delete", json={"id": "nothing", "urlIdx": 1})
    assert (gone.status_code, gone.json()["detail"]) == (404, "no such pipeline")
    # All with the connection's key; nobody else may.
    assert {authorization for _, _, authorization, _ in server.received} == {f"Bearer {KEY}"}
    assert (await user.client.get(f"{API}/list")).status_code == 401
    models = {row["id"]: row for row in (await client.get("/api/models")).json()["data"]}
    assert "words" not in models
    assert models["talker"]["pipeline"]["type"] == "pipe"


ODD: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/", {}, 404),
    ("GET", "/?urlIdx=1", {}, 404),
    ("GET", "/?urlIdx=-1", {}, 422),
    ("GET", "/?urlIdx=1000000000000000000000000000000", {}, 422),
    ("GET", "/talker/valves", {}, 422),
    ("GET", "/..%2f..%2fsecret/valves?urlIdx=0", {}, 404),
    ("GET", "/nul%00/valves?urlIdx=0", {}, 404),
    ("POST", "/talker/valves/update?urlIdx=0", {"json": [1]}, 422),
    ("POST", "/talker/valves/update?urlIdx=0", {"content": b'{"a": 1e999}'}, 422),
    ("POST", "/add", {"json": {"url": "file:///etc/passwd", "urlIdx": 0}}, 400),
    ("POST", "/add", {"json": {"url": "", "urlIdx": 0}}, 422),
    ("POST", "/upload", {"json": {"urlIdx": 0}}, 422),
    ("POST", "/upload", {"data": {"urlIdx": "0"}, "files": {"other": ("a.py", b"x")}}, 422),
    ("POST", "/upload", {"data": {"urlIdx": "10" * 40}, "files": {"file": ("a.py", b"x")}}, 422),
    ("POST", "/upload", {"data": {"urlIdx": "0"}, "files": {"file": ("a.exe", b"x")}}, 400),
    ("POST", "/upload", {"data": {"urlIdx": "0"}, "files": {"file": ("a.py", b"x" * 1_100_000)}}, 413),
    ("DELETE", "/delete", {"json": {"id": "", "urlIdx": 0}}, 422),
]


async def test_odd_requests_are_refused(live: Live, admin: Actor, upstream: Upstream) -> None:
    await live.app.state.oui.save_config({"openai.api_base_urls": [upstream.openai_url], "openai.api_keys": [""]})
    for method, path, extra, status in ODD:
        reply = await admin.client.request(method, API + path, **extra)
        assert reply.status_code == status, (method, path, reply.text)


async def test_filters_stand_around_answers(
    live: Live, admin: Actor, upstream: Upstream, server: PipelinesServer
) -> None:
    server.add_filter("late", added("B"), pipelines=["*"], priority=9)
    server.add_filter("early", added("A"), pipelines=["echo"], priority=-1)
    server.add_filter("others", added("C"), pipelines=["fixed"])
    await connect(live, admin, upstream, server)
    message = await said(admin, "Hello")
    chat = upstream.chats[-1].body
    assert (chat["messages"][-1]["content"], chat["temperature"], chat["model"]) == ("HelloAB", 0.5, "echo")
    assert message["content"] == "HelloAB [A Admin One] [B Admin One]"
    (asked,) = server.asked("/early/filter/inlet")
    assert asked["user"] == {"id": admin.id, "name": admin.name, "email": admin.email, "role": "admin"}
    assert asked["body"]["metadata"]["chat_id"] == asked["body"]["chat_id"]
    # API clients' questions go through them, too, and what the server asks by itself.
    asked_by_api = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}
    reply = await admin.client.post("/api/chat/completions", json=asked_by_api)
    assert reply.json()["choices"][0]["message"]["content"].strip() == "HiAB"
    await said(admin, "Third", background_tasks=ALL_TASKS)
    titles = [r.body["messages"][-1]["content"] for r in upstream.chats if not r.body.get("stream")]
    assert len(titles) >= 2
    assert all(text.endswith("AB") for text in titles)


async def test_a_model_that_is_made_of_another_has_its_filters(
    live: Live, admin: Actor, upstream: Upstream, server: PipelinesServer
) -> None:
    server.add_filter("words", added("!"), pipelines=["echo"])
    await connect(live, admin, upstream, server)
    row = {"id": "mine", "base_model_id": "echo", "name": "Mine", "meta": {}, "params": {}}
    assert (await admin.client.post("/api/v1/models/create", json=row)).status_code == 200
    assert (await said(admin, "Hello", "mine"))["content"] == "Hello! [! Admin One]"


async def test_a_pipe_looks_at_its_own_questions(
    live: Live, admin: Actor, upstream: Upstream, server: PipelinesServer
) -> None:
    server.filters["talker", "inlet"] = added("?")["inlet"]
    await connect(live, admin, upstream, server)
    assert (await said(admin, "Hello", "talker"))["content"] == "I talk."
    (asked,) = server.asked("/chat/completions")
    assert (asked["messages"][-1]["content"], asked["model"]) == ("Hello?", "talker")
    # One that has no hooks at all is asked all the same.
    server.models[0]["id"] = "other"
    await live.app.state.oui.catalogue.wait_for_lists(refresh=True)
    assert (await said(admin, "Hello", "other"))["content"] == "I talk."


@pytest.mark.parametrize(
    ("look", "sentence"),
    [
        (refusing(429, {"detail": "Rate limit exceeded. Try later."}), "Rate limit exceeded. Try later."),
        (refusing(500, {"oops": 1}), "The filter 'Words' could not be asked"),
        (refusing(200, [1]), "The filter 'Words' did not give back the request with its messages."),
        (refusing(200, {"messages": ["x"]}), "The filter 'Words' did not give back the request with its messages."),
    ],
)
async def test_a_filter_that_refuses_ends_the_answer_before_it_begins(
    live: Live, admin: Actor, upstream: Upstream, server: PipelinesServer, look: Any, sentence: str
) -> None:
    server.add_filter("words", {"inlet": look}, pipelines=["*"])
    await connect(live, admin, upstream, server)
    message = await said(admin)
    assert message["error"]["content"].startswith(sentence)
    assert KEY not in str(message)
    reply = await admin.client.post(
        "/api/chat/completions", json={"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}
    )
    assert reply.status_code >= 400
    assert sentence in reply.text
    assert upstream.chats == []


async def test_a_filter_that_fails_after_an_answer_leaves_it_as_it_is(
    live: Live, admin: Actor, upstream: Upstream, server: PipelinesServer
) -> None:
    server.add_filter("words", {"outlet": refusing(500, {"detail": "Full."})}, pipelines=["*"])
    await connect(live, admin, upstream, server)
    message = await said(admin)
    assert (message["content"], message["done"]) == ("Hello", True)
    assert [status["description"] for status in message["statusHistory"]] == ["Full."]


async def test_an_outlet_that_fails_leaves_what_the_others_made(
    live: Live, admin: Actor, upstream: Upstream, server: PipelinesServer
) -> None:
    """What one filter hides is not shown again because the next one is broken."""
    server.add_filter("hides", {"outlet": added("H")["outlet"]}, pipelines=["*"], priority=1)
    server.add_filter("fails", {"outlet": refusing(500, {"detail": "Full."})}, pipelines=["*"], priority=2)
    server.add_filter("last", {"outlet": added("L")["outlet"]}, pipelines=["*"], priority=3)
    await connect(live, admin, upstream, server)
    message = await said(admin)
    assert message["content"] == "Hello [H Admin One] [L Admin One]"
    assert [status["description"] for status in message["statusHistory"]] == ["Full."]


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
HI = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}


async def forgets(live: Live) -> None:
    """The server's list, as it is after a restart of ours, or a quarter of an hour of silence."""
    catalogue = live.app.state.oui.catalogue
    await catalogue._filters.close()
    for source in catalogue._sources.values():
        if source.connection.spec.index == 1:
            source.entries, source.error, source.tried = [], "away", True
    catalogue._filters = known_filters.KnownFilters(live.app.state.oui.database)
    await catalogue._filters.open()
    catalogue._rebuild()


async def test_a_server_that_is_away_lets_nobody_past_its_filters(
    live: Live, admin: Actor, user: Actor, upstream: Upstream, server: PipelinesServer
) -> None:
    server.add_filter("words", added("!"), pipelines=["*"], priority=3)
    await connect(live, admin, upstream, server)
    assert (await admin.client.post("/api/chat/completions", json=HI)).status_code == 200
    await server.stop()
    await forgets(live)
    asked = len(upstream.chats)
    for path, body in (
        ("/api/chat/completions", HI), ("/openai/chat/completions", HI | {"stream": True}), ("/ollama/api/chat", HI),
        ("/ollama/api/generate", {"model": "echo", "prompt": "Hi"}),
    ):  # fmt: skip
        reply = await admin.client.post(path, json=body)
        assert reply.status_code == 503, (path, reply.text)
        assert "The filter 'Words' could not be asked, so the answer was not begun" in reply.text
    message = await said(admin)
    assert message["error"]["content"].startswith("The filter 'Words' could not be asked")
    assert len(upstream.chats) == asked
    # An admin may decide otherwise.
    await live.app.state.oui.save_config({"pipelines.filters.required": False})
    reply = await admin.client.post("/api/chat/completions", json=HI)
    assert (reply.status_code, upstream.chats[-1].body["messages"][-1]["content"]) == (200, "Hi")


async def test_what_a_server_lists_again_counts(
    live: Live, admin: Actor, upstream: Upstream, server: PipelinesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add_filter("words", added("!"), pipelines=["*"])
    await connect(live, admin, upstream, server)
    state = live.app.state.oui

    async def stored() -> Any:
        await state.catalogue._filters.close()
        async with state.database.read() as connection:
            return await configs.beginning_with(connection, known_filters.KEY)

    ((key, kept),) = (await stored()).items()
    assert kept == [{"id": "words", "name": "Words", "pipeline": {"type": "filter", "pipelines": ["*"]}}]
    assert server.url not in key
    # A server that starts lists nothing for a while: nobody is let past its filters meanwhile.
    listed, server.models = server.models, []
    await state.catalogue.wait_for_lists(refresh=True)
    assert list((await stored()).values()) == [kept]
    assert (await admin.client.post("/api/chat/completions", json=HI)).status_code == 200
    assert upstream.chats[-1].body["messages"][-1]["content"] == "Hi!"
    # One that has said so for long has none.
    monkeypatch.setattr(known_filters, "EMPTY_SECONDS", 0.0)
    await state.catalogue.wait_for_lists(refresh=True)
    assert list((await stored()).values()) == [[]]
    monkeypatch.undo()
    server.models = listed
    await state.catalogue.wait_for_lists(refresh=True)
    assert list((await stored()).values()) == [kept]
    server.models = listed[:-1]
    await state.catalogue.wait_for_lists(refresh=True)
    assert list((await stored()).values()) == [[]]
    assert (await admin.client.post("/api/chat/completions", json=HI)).status_code == 200
    assert upstream.chats[-1].body["messages"][-1]["content"] == "Hi"
    # Nothing of it is a setting.
    exported = (await admin.client.get("/api/v1/configs/export")).text
    assert known_filters.KEY not in exported


async def test_a_model_made_of_a_model_that_is_named_has_the_filter(
    live: Live, admin: Actor, upstream: Upstream, server: PipelinesServer
) -> None:
    """Nobody goes round a filter with one more model on top."""
    server.add_filter("words", added("!"), pipelines=["mine"])
    await connect(live, admin, upstream, server)
    for name, base in (("mine", "echo"), ("mine-too", "mine"), ("another", "echo")):
        row = {"id": name, "base_model_id": base, "name": name, "meta": {}, "params": {}}
        assert (await admin.client.post("/api/v1/models/create", json=row)).status_code == 200
    for name, seen in (("mine", "Hi!"), ("mine-too", "Hi!"), ("another", "Hi")):
        assert (await admin.client.post("/api/chat/completions", json=HI | {"model": name})).status_code == 200
        assert upstream.chats[-1].body["messages"][-1]["content"] == seen


async def test_a_prompt_that_filters_made_a_conversation_of_is_refused(
    live: Live, admin: Actor, upstream: Upstream, server: PipelinesServer
) -> None:
    def longer(body: dict[str, Any], _user: dict[str, Any]) -> dict[str, Any]:
        body["messages"].append({"role": "assistant", "content": "So?"})
        return body

    server.add_filter("words", {"inlet": longer}, pipelines=["*"])
    await connect(live, admin, upstream, server)
    reply = await admin.client.post("/ollama/api/generate", json={"model": "echo", "prompt": "Hi", "system": "Be."})
    assert (reply.status_code, upstream.chats) == (400, [])
    server.filters["words", "inlet"] = added("!")["inlet"]
    body = {"model": "echo", "prompt": "Hi", "system": "Be.", "stream": False}
    assert (await admin.client.post("/ollama/api/generate", json=body)).status_code == 200
    assert [m["content"] for m in upstream.chats[-1].body["messages"]] == ["Be.", "Hi!"]
    # What filters would not see is not passed on beside it.
    for name, value in (("suffix", "."), ("template", "{{ .Prompt }}"), ("context", [1])):
        reply = await admin.client.post("/ollama/api/generate", json=body | {name: value})
        assert (reply.status_code, name in reply.json()["detail"]) == (400, True)
    assert len(upstream.chats) == 1


async def test_filters_see_the_pictures_of_a_prompt(
    live: Live, admin: Actor, upstream: Upstream, server: PipelinesServer
) -> None:
    seen: list[Any] = []

    def without_pictures(body: dict[str, Any], _user: dict[str, Any]) -> dict[str, Any]:
        content = body["messages"][-1]["content"]
        seen.append(content)
        body["messages"][-1]["content"] = content[:keep]
        return body

    keep = 2
    server.add_filter("words", {"inlet": without_pictures}, pipelines=["*"])
    await connect(live, admin, upstream, server)
    body = {"model": "echo", "prompt": "See", "images": [PIXEL, PIXEL], "stream": False}
    assert (await admin.client.post("/ollama/api/generate", json=body)).status_code == 200
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    assert seen == [[{"type": "text", "text": "See"}, picture, picture]]
    # What a filter takes away reaches no model.
    assert upstream.chats[-1].body["messages"][-1]["content"] == [{"type": "text", "text": "See"}, picture]
    keep = 1
    assert (await admin.client.post("/ollama/api/generate", json=body)).status_code == 200
    assert PIXEL not in str(upstream.chats[-1].body)


async def test_filters_see_a_question_before_it_is_searched_for(
    live: Live, admin: Actor, upstream: Upstream, server: PipelinesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one takes out of it goes to no engine of the web, nor to one that makes vectors."""
    asked: list[Any] = []

    async def reads(_services: Any, _principal: Any, request: Any, _target: Any) -> Any:
        asked.append(request.payload["messages"][-1]["content"])
        return request, []

    monkeypatch.setattr(reading, "for_api", reads)
    server.add_filter("words", added("!"), pipelines=["*"])
    await connect(live, admin, upstream, server)
    for path, more in (("/api/chat/completions", {}), ("/api/v1/messages", {"max_tokens": 9})):
        body = HI | more | {"files": [{"type": "text", "name": "a", "content": "b"}]}
        reply = await admin.client.post(path, json=body)
        assert reply.status_code == 200, reply.text
    assert asked == ["Hi!"] * len(asked) != []
    # Once, and not again after what was read.
    assert upstream.chats[-1].body["messages"][-1]["content"] == "Hi!"


def filter_entry(**pipeline: Any) -> ModelEntry:
    raw = {"id": "f", "name": "F", "pipeline": {"type": "filter"} | pipeline}
    return ModelEntry(id="f", name="F", remote_id="f", connection="openai:0", kind="openai", raw=raw)


def test_what_is_remembered_is_bounded_and_errs_towards_asking() -> None:
    """Of a list of models that is too long all are meant."""
    many = [str(n) for n in range(known_filters.MOST_NAMES + 1)]
    for given, kept in (
        (["a", 3, None], ["a"]), (many, ["*"]), (["x" * 1_000], ["*"]), ("a", []), (None, []),
    ):  # fmt: skip
        (told,) = known_filters.told([filter_entry(pipelines=given)])
        assert told["pipeline"]["pipelines"] == kept
    assert len(known_filters.told([filter_entry(pipelines=["*"])] * 1_000)) == known_filters.MOST_FILTERS
    pipe = ModelEntry(
        id="p", name="P", remote_id="p", connection="o", kind="openai", raw={"pipeline": {"type": "pipe"}}
    )
    assert known_filters.told([pipe]) == []
    assert not pipelines.is_filter(pipe)


@pytest.mark.parametrize("broken", [7, "x", [1], [{}], {"a": 1}])
async def test_a_row_that_somebody_broke_is_passed_over(live: Live, broken: Any) -> None:
    state = live.app.state.oui
    async with state.database.write() as unit:
        await configs.put(unit.connection, {f"{known_filters.KEY}x": broken})
    known = known_filters.KnownFilters(state.database)
    await known.open()
    assert known._known in ({}, {f"{known_filters.KEY}x": []})
