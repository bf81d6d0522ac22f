"""llamaforge's models as backends: a real engine on a tiny model, and Eliza."""

import asyncio
import copy

import pytest
from pydantic import BaseModel

from llamaforge import LlamaForge, ModelNotFoundError, ParameterError
from synthora.messages import BaseMessage, ThinkingPart, ToolCall, ToolCallPart, system, tool_response, user
from synthora.models import LlamaForgeBackend, OpenAIChatBackend, OpenAICompletionBackend
from tests.support import tiny_gguf as writers
from tests.support.eliza import SAD
from tests.support.hub_cache import cache_model
from tests.support.tiny_gguf import HELLO
from tests.support.tiny_transformers import write_model
from tests.synthora.support import Listener

ONE_THREAD = {"n_threads": 1, "n_ctx": 512}
PRICES = {"tiny": {"input": 1, "output": 1}}


@pytest.fixture
def forge(tmp_path, tiny_gguf):
    with LlamaForge(tmp_path / "config.json") as made:
        made.add_model("tiny", tiny_gguf, parameters=ONE_THREAD)
        made.add_model("doctor", "doctor", backend="eliza")
        yield made


async def test_whole_and_streamed_sync_and_async(forge):
    handler = Listener()
    backend = LlamaForgeBackend("tiny", forge, config={"temperature": 0, "prices": PRICES}, handlers=[handler])
    streamed = list(backend.run(user("hi"), stream=True))
    astreamed = [m async for m in await backend.async_run(user("hi"), stream=True)]
    for answer in (
        backend.run([system("x"), user("hi")]),
        await backend.async_run(user("hi")),
        streamed[-1],
        astreamed[-1],
    ):
        assert answer.content == HELLO
        assert answer.metadata["finish_reason"] == "stop"
        assert answer.metadata["usage"].completion_tokens >= 6
        assert answer.metadata["cost"] == pytest.approx(answer.metadata["usage"].total_tokens / 1e6)
        assert answer.source.name == "tiny"
    assert "".join(m.chunk or "" for m in streamed) == HELLO
    assert (await backend.async_run(user("hi"))).chunk is None
    assert handler.names().count("on_llm_end") == 5


def test_a_model_of_the_hubs_cache_by_its_name(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    cache_model(tmp_path / "hf" / "hub", "gpt2", write_model(tmp_path / "model"))
    backend = LlamaForgeBackend("gpt2", load_parameters={"n_threads": 1}, config_path=tmp_path / "config.json")
    assert backend.run(user("hi")).content == HELLO


def test_call_arguments_win(forge):
    backend = LlamaForgeBackend("tiny", forge, config={"max_tokens": 1, "temperature": 0})
    assert backend.run(user("hi")).metadata["finish_reason"] == "length"
    assert backend.run(user("hi"), max_tokens=100).content == HELLO


async def test_the_event_loop_goes_on(tmp_path):
    path = writers.write_gguf(tmp_path / "endless.gguf", endless=True)
    backend = LlamaForgeBackend(str(path), load_parameters=ONE_THREAD, config_path=tmp_path / "config.json")
    turns = 0

    async def watch():
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    await asyncio.to_thread(backend.run, user("hi"), max_tokens=1)  # loading is not what is watched
    watcher = asyncio.create_task(watch())
    answer = await backend.async_run(user("hi"), max_tokens=300)
    watcher.cancel()
    assert answer.metadata["usage"].completion_tokens == 300
    assert turns > 5

    task = asyncio.create_task(backend.async_run(user("hi"), max_tokens=100_000))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await backend.async_run(user("hi"), max_tokens=2)).metadata["usage"].completion_tokens == 2
    backend.close()


def test_tool_calls(tmp_path):
    said = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    path = writers.write_gguf(tmp_path / "tools.gguf", says=said)
    tool = {"type": "function", "function": {"name": "add", "parameters": {
        "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}}  # fmt: skip
    backend = LlamaForgeBackend(
        str(path), load_parameters=ONE_THREAD, config={"temperature": 0, "tools": [tool]},
        config_path=tmp_path / "config.json",
    )  # fmt: skip
    for answer in (backend.run(user("1?")), list(backend.run(user("1?"), stream=True))[-1]):
        (call,) = answer.tool_calls
        assert (call.function.name, call.function.arguments.replace(" ", "")) == ("add", '{"a":1}')
        assert answer.metadata["finish_reason"] == "tool_calls"
    backend.close()


class Answer(BaseModel):
    ok: bool


def test_structured_output(forge):
    backend = LlamaForgeBackend("tiny", forge, config={"temperature": 0, "response_format": Answer, "max_tokens": 200})
    assert isinstance(backend.run(user("well?")).parsed, Answer)
    assert isinstance(list(backend.run(user("well?"), stream=True))[-1].parsed, Answer)


def test_any_backend_of_llamaforge(forge):
    answer = LlamaForgeBackend("doctor", forge).run(user("I am sad"))
    assert answer.content == SAD


async def test_mistakes(forge):
    handler = Listener()
    for stream in (False, True):
        with pytest.raises(ModelNotFoundError, match="There is no model 'tinny'"):
            LlamaForgeBackend("tinny", forge, handlers=[handler]).run(user("x"), stream=stream)
    with pytest.raises(ModelNotFoundError):
        await LlamaForgeBackend("tinny", forge, handlers=[handler]).async_run(user("x"))
    with pytest.raises(ParameterError, match="Did you mean 'temperature'"):
        LlamaForgeBackend("tiny", forge, handlers=[handler]).run(user("x"), temprature=1)
    assert handler.names() == ["on_llm_start", "on_llm_error"] * 4


def test_whose_forge_it_is(forge, tiny_gguf, tmp_path):
    backend = LlamaForgeBackend("tiny", forge)
    backend.run(user("x"))
    twin = copy.deepcopy(backend)
    assert twin.run(user("x")).content == HELLO
    twin.close()
    backend.close()
    assert forge.is_model_loaded("tiny")  # it was not theirs

    own = LlamaForgeBackend.default(str(tiny_gguf), load_parameters=ONE_THREAD, config_path=tmp_path / "c.json")
    assert own.client is None
    assert own.run(user("x")).content == HELLO
    own.close()
    assert own.run(user("x")).content == HELLO  # and it is loaded again
    own.close()


async def test_a_backend_changes_nothing_for_others(forge):
    """Neither the current model, nor what a model is loaded with once it had to go."""
    forge.load_model("doctor")
    backend = LlamaForgeBackend("tiny", forge, load_parameters={"n_ctx": 256})

    def context():
        return forge.get_model_info("tiny")["details"]["n_ctx"]

    for asked in (
        lambda: backend.run(user("hi"), max_tokens=1),
        lambda: list(backend.run(user("hi"), max_tokens=1, stream=True)),
    ):
        asked()
        assert (forge.current_model.name, context()) == ("doctor", 256)
        forge.unload_model("tiny")
        assert forge.current_model.name == "doctor"
    await backend.async_run(user("hi"), max_tokens=1)
    assert (forge.current_model.name, context()) == ("doctor", 256)
    # A backend without any takes the model as it is in memory; another one's parameters are its own.
    LlamaForgeBackend("tiny", forge).run(user("hi"), max_tokens=1)
    assert context() == 256
    LlamaForgeBackend("tiny", forge, load_parameters={"n_ctx": 768}).run(user("hi"), max_tokens=1)
    assert context() == 768
    backend.run(user("hi"), max_tokens=1)
    assert context() == 256


def test_thoughts_go_back_to_the_template(forge):
    """A model that has thought before it called a tool finds its thoughts again."""
    call = ToolCallPart(ToolCall(id="c", function={"name": "f", "arguments": "{}"}))
    asked = BaseMessage.from_parts("assistant", [ThinkingPart("let me see"), call])
    backend = LlamaForgeBackend("tiny", forge, config={"temperature": 0})
    (sent, *_) = backend._input([asked])["messages"]
    assert sent["reasoning_content"] == "let me see"
    assert backend.run([user("hi"), asked, tool_response("1", "c")]).is_complete


async def test_tokens_are_counted_as_the_answer_counts_them(forge):
    backend = LlamaForgeBackend("tiny", forge, config={"temperature": 0, "max_tokens": 1})
    question = [system("Be brief."), user("hi")]
    counted = backend.count_tokens(question)
    assert counted == await backend.async_count_tokens(question)
    assert counted == backend.run(question).metadata["usage"].prompt_tokens
    with pytest.raises(ModelNotFoundError):
        LlamaForgeBackend("tinny", forge).count_tokens(question)


async def test_a_load_takes_no_thread_of_the_event_loops(forge, monkeypatch):
    """Name resolution and other libraries' work run on these."""

    def refuse(*args, **kwargs):
        raise AssertionError("the default executor is used")

    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", refuse)
    backend = LlamaForgeBackend("tiny", forge, load_parameters={"n_ctx": 256}, config={"temperature": 0})
    said = await asyncio.gather(*(backend.async_run(user("hi")) for _ in range(3)))
    assert {answer.content for answer in said} == {HELLO}


def test_the_same_model_behind_a_server(forge, tiny_gguf):
    """`llamaforge serve` and OpenAIChatBackend say what LlamaForgeBackend says, with the same usage."""
    server = forge.start_server("127.0.0.1", 0, api_key="sk-local", block=False)
    try:
        remote = OpenAIChatBackend("tiny", "sk-local", f"{server.url}/v1", config={"temperature": 0}, max_retries=0)
        here = LlamaForgeBackend("tiny", forge, config={"temperature": 0}).run(user("hi"))
        for there in (remote.run(user("hi")), list(remote.run(user("hi"), stream=True))[-1]):
            assert there.content == here.content == HELLO
            assert there.metadata["usage"].completion_tokens == here.metadata["usage"].completion_tokens
        plain = OpenAICompletionBackend("tiny", "sk-local", f"{server.url}/v1", config={"temperature": 0})
        assert plain.run("hi").content == HELLO
        assert list(plain.run("hi", stream=True))[-1].content == HELLO
        remote.close()
        plain.close()
    finally:
        server.stop()
