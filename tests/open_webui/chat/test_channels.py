"""gpt-oss' channels that a provider leaks as text: on the page, for Ollama's clients, in titles."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from open_webui.chat import prompts
from tests.open_webui.chat.page import Page, open_page
from tests.support import script
from tests.support.live import Actor, Live
from tests.support.upstream import Upstream

LEAKED = (
    "<|channel|>analysis<|message|>The person greets.<|end|><|start|>assistant<|channel|>commentary to=functions.weather"
    ' <|constrain|>json<|message|>{"place":"Bern"}<|call|><|start|>assistant<|channel|>final<|message|>Hello!<|return|>'
)


# What is stored here is the same in every database.
ONE_DATABASE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


@pytest.fixture(params=[1, 7, 10_000])
def leaking(request: pytest.FixtureRequest, upstream: Upstream) -> str:
    """A model that answers so, in pieces of this length."""
    size = request.param
    pieces = [LEAKED[at : at + size] for at in range(0, len(LEAKED), size)]
    upstream.rounds = [[*(script.Text(piece) for piece in pieces), script.Finish()]]
    return "rounds"


@ONE_DATABASE
@pytest.mark.parametrize("stream", [True, False])
async def test_on_the_page(page: Page, leaking: str, stream: bool) -> None:
    body = page.ask(leaking, "Hi", stream=stream)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    kept = await page.message(chat_id, body["id"])
    assert kept["content"] == "Hello!"
    said = [(item["type"], item.get("name") or item["content"][0]["text"]) for item in kept["output"]]
    assert said == [("reasoning", "The person greets."), ("function_call", "weather"), ("message", "Hello!")]
    assert kept["output"][1]["arguments"] == '{"place":"Bern"}'
    told = msgspec.json.encode([page.data(kind, body["id"]) for kind in ("response:completion", "chat:completion")])
    assert b"<|" not in told


@ONE_DATABASE
@pytest.mark.parametrize("stream", [True, False])
async def test_for_ollamas_clients(admin: Actor, leaking: str, stream: bool) -> None:
    body = {"model": leaking, "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    reply = await admin.client.post("/ollama/api/chat", json=body)
    said: dict[str, Any] = {"content": "", "thinking": "", "tool_calls": []}
    for line in reply.text.splitlines():
        message = msgspec.json.decode(line)["message"]
        said = {name: value + message.get(name, type(value)()) for name, value in said.items()}
    call = {"function": {"name": "weather", "arguments": {"place": "Bern"}}}
    assert said == {"content": "Hello!", "thinking": "The person greets.", "tool_calls": [call]}


def test_in_side_answers() -> None:
    thought = '<|channel|>analysis<|message|>As {"title": "..."}.<|end|><|start|>assistant<|channel|>final<|message|>'
    assert prompts.title_of(thought + '{"title": "Foxes"}') == "Foxes"
    assert prompts.title_of(thought + "Foxes<|return|>") == "Foxes"
    assert prompts.parse_texts(thought + '{"tags": ["a"]}', "tags", most=3, longest=10) == ["a"]
