"""Plugins in answers: tools that models call, filters, and models that are pipes, each in its real process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from open_webui.services.builtin.source import BuiltIns
from open_webui.services.toolbox import Toolbox
from open_webui.tools.port import ToolResult
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.chat.test_api_tools import Source as OneTool
from tests.open_webui.chat.test_rounds import Weather
from tests.support.live import Actor, Live
from tests.support.script import Finish, Text, ToolCall
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.timeout(180), pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)]
CALLED = Finish("tool_calls")

WEATHER = '''
"""
title: Weather of the tests
"""
from pydantic import BaseModel, Field


class Tools:
    class Valves(BaseModel):
        unit: str = Field(default="C")

    class UserValves(BaseModel):
        polite: bool = False

    def __init__(self):
        self.valves = self.Valves()

    async def weather(self, city: str, __user__: dict = {}, __event_emitter__=None, __metadata__: dict = {}) -> str:
        """
        The weather of a city.
        :param city: Which city
        """
        await __event_emitter__({"type": "status", "data": {"description": f"Looking at {city}", "done": True}})
        await __event_emitter__(
            {"type": "citation", "data": {"source": {"name": "sky"}, "document": ["blue"], "metadata": [{"source": "sky"}]}}
        )
        greeting = f"Dear {__user__['name']}, " if __user__["valves"].polite else ""
        return f"{greeting}20 {self.valves.unit} in {city}, chat {bool(__metadata__['chat_id'])}"

    def breaks(self) -> str:
        """
        Raises.
        """
        raise ValueError("no sun today")
'''
FILTER = """
class Filter:
    def inlet(self, body: dict, __user__: dict = {}, __metadata__: dict = {}) -> dict:
        __metadata__["seen"] = "yes"
        body["messages"].insert(0, {"role": "system", "content": f"Mind {__user__['name']}."})
        body["temperature"] = 0.25
        return body

    def stream(self, event: dict) -> dict:
        for choice in event.get("choices", []):
            delta = choice.get("delta") or {}
            if delta.get("content"):
                delta["content"] = delta["content"].replace("dog", "cat")
        return event

    def outlet(self, body: dict, __metadata__: dict = {}) -> dict:
        body["messages"][-1]["content"] += f" (seen: {__metadata__['seen']})"
        return body
"""
PIPE = """
class Pipe:
    def __init__(self):
        self.name = "House: "

    def pipes(self):
        return [{"id": "one", "name": "One"}, {"id": "two", "name": "Two"}]

    async def pipe(self, body: dict, __user__: dict = {}, __event_emitter__=None):
        await __event_emitter__({"type": "status", "data": {"description": "Piping", "done": True}})
        yield f"{body['model']} says: "
        yield body["messages"][-1]["content"]
        yield {"choices": [{"index": 0, "delta": {"content": "!"}, "finish_reason": None}]}
"""


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None) -> Live:
    return await make_live(bypass_model_access_control=True)


@pytest.fixture
async def page(live: Live, user: Actor) -> AsyncIterator[Page]:
    async with open_page(user.client, user.token) as opened:
        yield opened


async def made(admin: Actor, kind: str, plugin_id: str, content: str) -> None:
    """Stores a plugin, and switches a function on for all models."""
    body = {"id": plugin_id, "name": plugin_id.title(), "content": content, "meta": {"description": ""}}
    if kind == "tools":
        body["access_grants"] = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
    reply = await admin.client.post(f"/api/v1/{kind}/create", json=body)
    assert reply.status_code == 200, reply.text
    for switch in ("toggle", "toggle/global") if kind == "functions" else ():
        reply = await admin.client.post(f"/api/v1/functions/id/{plugin_id}/{switch}")
        assert reply.status_code == 200, reply.text


async def answered(page: Page, model: str, text: str = "Hello", **fields: Any) -> dict[str, Any]:
    body = page.ask(model, text, **fields)
    reply = await page.post(body)
    await page.idle(reply["chat_id"])
    return await page.message(reply["chat_id"], body["id"])


def results(message: dict[str, Any]) -> list[str]:
    return [i["output"][0]["text"] for i in message["output"] if i["type"] == "function_call_output"]


async def test_a_model_calls_a_tool_that_somebody_wrote(
    page: Page, admin: Actor, user: Actor, upstream: Upstream
) -> None:
    await made(admin, "tools", "sky", WEATHER)
    reply = await admin.client.post("/api/v1/tools/id/sky/valves/update", json={"unit": "F"})
    assert reply.status_code == 200, reply.text
    reply = await user.client.post("/api/v1/tools/id/sky/valves/user/update", json={"polite": True})
    assert reply.status_code == 200, reply.text
    upstream.rounds = [
        [ToolCall("weather", ('{"city": "Rome"}',), "c1"), ToolCall("breaks", ("{}",), "c2"), CALLED],
        [Text("Warm."), Finish("stop")],
    ]
    message = await answered(page, "rounds", tool_ids=["sky"])
    assert message["content"] == "Warm."
    assert results(message) == [f"Dear {user.name}, 20 F in Rome, chat True", "no sun today"]
    assert [s["description"] for s in message["statusHistory"]] == ["Looking at Rome"]
    assert [s["source"]["name"] for s in message["sources"]] == ["sky"]
    offered = {tool["function"]["name"]: tool["function"] for tool in upstream.chats[0].body["tools"]}
    assert offered["weather"]["parameters"]["required"] == ["city"]


async def test_somebody_elses_tool_can_not_be_chosen(page: Page, admin: Actor) -> None:
    body = {"id": "own", "name": "Own", "content": WEATHER, "meta": {"description": ""}}
    assert (await admin.client.post("/api/v1/tools/create", json=body)).status_code == 200
    message = await answered(page, "fixed", tool_ids=["own"])
    assert "'own' can't be used" in message["error"]["content"]


async def test_a_filter_changes_the_question_the_words_and_the_answer(
    page: Page, admin: Actor, user: Actor, upstream: Upstream
) -> None:
    await made(admin, "functions", "censor", FILTER)
    upstream.rounds = [[Text("The dog "), Text("barks."), Finish("stop")]]
    message = await answered(page, "rounds")
    asked = upstream.chats[0].body
    assert asked["messages"][0] == {"role": "system", "content": f"Mind {user.name}."}
    assert asked["temperature"] == 0.25
    assert message["content"] == "The cat barks. (seen: yes)"
    told = "".join(d.get("delta", "") for d in page.data("response:completion") if "delta" in d)
    assert told == "The cat barks."
    (outlet,) = page.data("chat:outlet")
    assert outlet["messages"][0]["content"] == message["content"]


async def test_a_filter_sees_what_api_clients_ask_and_are_told(admin: Actor, user: Actor, upstream: Upstream) -> None:
    await made(admin, "functions", "censor", FILTER)
    upstream.rounds = [[Text("A dog."), Finish("stop")]]
    body = {"model": "rounds", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    reply = await user.client.post("/api/chat/completions", json=body)
    assert "A cat." in reply.text
    asked = upstream.chats[0].body
    assert (asked["messages"][0]["content"], asked["temperature"]) == (f"Mind {user.name}.", 0.25)
    assert not {"metadata", "chat_id"} & asked.keys()


async def test_a_filter_that_fails_says_so(page: Page, admin: Actor, upstream: Upstream) -> None:
    broken = "class Filter:\n    def inlet(self, body):\n        raise RuntimeError('out of order')\n"
    await made(admin, "functions", "broken", broken)
    message = await answered(page, "fixed")
    assert message["error"]["content"] == "The filter 'Broken' failed: out of order"
    assert upstream.chats == []


async def test_a_filter_with_a_switch_is_run_when_it_is_asked_for(page: Page, admin: Actor, upstream: Upstream) -> None:
    switched = "class Filter:\n    def __init__(self):\n        self.toggle = True\n    def inlet(self, body):\n"
    switched += "        body['messages'].append({'role': 'user', 'content': 'Loudly.'})\n        return body\n"
    await made(admin, "functions", "loud", switched)
    await answered(page, "fixed")
    await answered(page, "fixed", filter_ids=["loud"])
    assert [chat.body["messages"][-1]["content"] for chat in upstream.chats] == ["Hello", "Loudly."]


async def test_a_pipe_is_a_model(page: Page, admin: Actor, user: Actor) -> None:
    await made(admin, "functions", "house", PIPE)
    await page_lists(user, "house.two")
    message = await answered(page, "house.two", "Good morning")
    assert message["content"] == "house.two says: Good morning!"
    assert [s["description"] for s in message["statusHistory"]] == ["Piping"]
    body = {"model": "house.one", "messages": [{"role": "user", "content": "Hi"}]}
    reply = await user.client.post("/api/chat/completions", json=body)
    assert reply.json()["choices"][0]["message"]["content"] == "house.one says: Hi!"


async def test_a_pipe_is_told_who_asks_by_the_api(admin: Actor, user: Actor) -> None:
    said = "class Pipe:\n    def pipe(self, body, __user__):\n        return f\"{__user__['id']} {__user__['role']}\"\n"
    await made(admin, "functions", "who", said)
    await page_lists(user, "who")
    [listed] = [m for m in (await user.client.get("/api/models")).json()["data"] if m["id"] == "who"]
    assert (listed["pipe"], listed["has_user_valves"]) == ({"type": "pipe"}, False)
    body = {"model": "who", "messages": [{"role": "user", "content": "Hi"}]}
    for actor in (admin, user):
        reply = await actor.client.post("/api/chat/completions", json=body)
        assert reply.json()["choices"][0]["message"]["content"] == f"{actor.id} {actor.role}"


async def page_lists(user: Actor, model_id: str) -> None:
    for _ in range(200):
        models = (await user.client.get("/api/models")).json()["data"]
        if any(model["id"] == model_id for model in models):
            return
    raise AssertionError([model["id"] for model in models])


CALLER = """
class Pipe:
    async def pipe(self, body: dict, __tools__: dict = {}):
        weather = __tools__["weather"]
        yield weather["spec"]["parameters"]["required"][0] + ": "
        yield await weather["callable"](city="Rome")
        try:
            yield await weather["callable"](town="Rome")
        except Exception as error:
            yield f" / {error}"
"""


async def test_a_pipe_calls_the_tools_of_the_answer(page: Page, admin: Actor, user: Actor) -> None:
    await made(admin, "tools", "sky", WEATHER)
    await made(admin, "functions", "caller", CALLER)
    message = await answered(page, "caller", tool_ids=["sky"])
    said, refused = message["content"].split(" / ")
    assert said == "city: 20 C in Rome, chat True"
    assert "'city' is missing" in refused
    assert [s["description"] for s in message["statusHistory"]] == ["Looking at Rome"]


async def test_a_person_who_wants_to_be_asked_is_asked_for_a_pipes_calls_too(page: Page, admin: Actor) -> None:
    await made(admin, "tools", "sky", WEATHER)
    await made(admin, "functions", "caller", CALLER)
    message = await answered(page, "caller", tool_ids=["sky"], params={"tool_approvals": {"weather": "never"}})
    assert "does not want 'weather' to be called" in message["error"]["content"]


ASKER = """
class Pipe:
    async def pipe(self, body: dict, __tools__: dict = {}):
        for city in ("Rome", "Oslo"):
            yield await __tools__["weather"]["callable"](city=city)
"""


async def test_what_a_person_says_of_a_tool_counts_for_all_calls_of_a_pipe(page: Page, admin: Actor) -> None:
    await made(admin, "tools", "sky", WEATHER)
    await made(admin, "functions", "asker", ASKER)

    async def always(event: dict[str, Any]) -> Any:
        await page._note(event)
        return "always"

    page.socket.on("events", always)
    message = await answered(page, "asker", tool_ids=["sky"], params={"tool_approval_mode": "ask"})
    assert "in Rome" in message["content"]
    assert "in Oslo" in message["content"]
    assert [asked["tool_call"]["name"] for asked in page.data("confirmation")] == ["weather"]


SHOWER = """
class Pipe:
    async def pipe(self, body: dict, __tools__: dict = {}):
        yield str(await __tools__["weather"]["callable"](city="Rome"))
"""


async def test_what_a_tool_shows_is_shown_below_the_answer_of_a_pipe_that_called_it(
    live: Live, page: Page, admin: Actor
) -> None:
    """The pipe gets the text; files and embeds are the message's, and are told to the page."""
    await made(admin, "functions", "shower", SHOWER)
    picture = {"type": "image", "url": "/api/v1/files/none/content"}
    tool = Weather()

    async def drawn(_arguments: dict[str, Any]) -> ToolResult:
        return ToolResult(text="Drawn.", files=(picture,), embeds=("<b>A map</b>",))

    tool.act = drawn
    state = live.app.state.oui
    state._toolbox = Toolbox((OneTool(tool),), BuiltIns(state))
    message = await answered(page, "shower", tool_ids=["sky"])
    assert message["content"] == "Drawn."
    assert (message["files"], message["embeds"]) == ([picture], ["<b>A map</b>"])
    assert [told["files"] for told in page.data("files")] == [[picture]]
    assert [told["embeds"] for told in page.data("embeds")] == [["<b>A map</b>"]]


async def test_an_outlet_that_fails_leaves_what_the_one_before_it_made(
    page: Page, admin: Actor, upstream: Upstream
) -> None:
    hides = "class Filter:\n    class Valves(BaseModel):\n        priority: int = 1\n    def outlet(self, body):\n"
    hides += "        body['messages'][-1]['content'] = 'hidden'\n        return body\n"
    fails = "class Filter:\n    class Valves(BaseModel):\n        priority: int = 2\n    def outlet(self, body):\n"
    fails += "        raise RuntimeError('out of order')\n"
    await made(admin, "functions", "hides", f"from pydantic import BaseModel\n{hides}")
    await made(admin, "functions", "fails", f"from pydantic import BaseModel\n{fails}")
    upstream.rounds = [[Text("secret"), Finish("stop")]]
    message = await answered(page, "rounds")
    assert message["content"] == "hidden"
    assert [status["description"] for status in message["statusHistory"]] == ["The filter 'Fails' failed: out of order"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_filter_sees_what_clients_of_ollamas_interface_ask(
    admin: Actor, user: Actor, upstream: Upstream, stream: bool
) -> None:
    """Nobody goes round a filter by another door: neither by a chat nor by a prompt."""
    await made(admin, "functions", "censor", FILTER)
    upstream.rounds = [[Text("A dog."), Finish("stop")]]
    body = {"model": "rounds", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
    reply = await user.client.post("/ollama/api/chat", json=body)
    assert ("A cat." if stream else "A dog.") in reply.text
    upstream.rounds = [[Text("A dog."), Finish("stop")]]
    reply = await user.client.post("/ollama/api/generate", json={"model": "rounds", "stream": stream, "prompt": "Hi"})
    assert reply.status_code == 200, reply.text
    for asked in upstream.chats[:2]:
        assert [m["content"] for m in asked.body["messages"]] == [f"Mind {user.name}.", "Hi"]
        assert asked.body["temperature"] == 0.25
