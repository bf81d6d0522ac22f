"""Answers by the name of a model: where it is found, what is fallen back on, deadlines, streams."""

import asyncio
import threading

import pytest

from ai_core import Connection, ResponseGenerator
from backends import OobaboogaBackend
from llamaforge import LlamaForge
from llamaforge.exceptions import APIError, ModelNotFoundError
from tests.support.tiny_gguf import HELLO
from tests.support.upstream import Upstream
from tests.support.webui import WebUI
from text_generation import TextGenerationBackend


class Saying(TextGenerationBackend):
    """Says its words, one a piece; an exception among them is raised, a number is waited for."""

    def __init__(self, *words):
        self.words = words
        self.asked = []

    async def generate(self, prompt, model=None, **kwargs):
        self.asked.append((prompt, model, kwargs))
        return "".join([word async for word in self.generate_stream(prompt)])

    async def generate_stream(self, prompt, parameters=None):  # noqa: ARG002
        for word in self.words:
            if isinstance(word, Exception):
                raise word
            if isinstance(word, float):
                await asyncio.sleep(word)
            else:
                yield word


@pytest.fixture
def forge(tiny_gguf):
    with LlamaForge(":memory:") as made:
        made.add_model("tiny", tiny_gguf, parameters={"n_threads": 1})
        yield made


@pytest.fixture
def generator(forge, upstream: Upstream):
    return ResponseGenerator(forge=forge, connections=[Connection(upstream.openai_url)])


async def test_custom_then_local_then_connected(generator, upstream: Upstream):
    answer = await generator.generate_response("hello there", "echo")
    assert (answer, answer.source, answer.fallback) == ("hello there", "connection", False)
    assert await generator.generate_response("hi", "tiny") == HELLO
    generator.register_backend("tiny", Saying("mine"))
    assert await generator.generate_response("hi", "tiny") == "mine"
    found = {model["id"]: model["source"] for model in generator.get_available_models()}
    assert (found["tiny"], found["echo"]) == ("custom", "connection")
    assert generator.get_available_models()[0]["id"] == "tiny"
    assert [chat.model for chat in upstream.chats] == ["echo"]


async def test_models_are_looked_for_beside_the_event_loop(forge):
    class Slow(LlamaForge):
        def is_model_available(self, name):
            looked.append(threading.current_thread() is threading.main_thread())
            return super().is_model_available(name)

        def list_models(self):
            self.is_model_available("tiny")
            return super().list_models()

    looked = []
    with Slow(":memory:") as slow:
        slow.add_model("tiny", forge.get_model("tiny").path, parameters={"n_threads": 1})
        generator = ResponseGenerator(forge=slow)
        assert await generator.generate_response("hi", "tiny") == HELLO
        assert len(looked) == 1
        assert await generator.generate_response("hi") == HELLO
        assert "".join([piece async for piece in generator.generate_stream("hi", "tiny")]) == HELLO
        with pytest.raises(ModelNotFoundError):
            await generator.generate_response("hi", "tinny")
    assert True not in looked


async def test_the_event_loops_own_threads_stay_free(generator, monkeypatch):
    """Name resolution and other libraries' work run on these."""

    def refuse(*args, **kwargs):
        raise AssertionError("the default executor is used")

    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", refuse)
    await generator.refresh_models()
    assert await generator.generate_response("hi")


async def test_a_path_is_a_name(tiny_gguf):
    generator = ResponseGenerator(forge=LlamaForge(":memory:"))
    assert await generator.generate_response("hi", str(tiny_gguf)) == HELLO
    generator._forge.close()


async def test_an_answer_is_text_that_knows_its_model(generator):
    answer = await generator.generate_response("hi", "tiny", parameters={"max_tokens": 40, "temperature": 0})
    assert isinstance(answer, str)
    assert answer.metadata == {
        "model_id": "tiny", "requested_model": "tiny", "source": "local", "fallback": False, "failures": {}
    }  # fmt: skip


async def test_a_custom_backend_gets_the_model_and_the_parameters(generator):
    backend = generator._custom_backends["mine"] = Saying("yes")
    await generator.generate_response("hi", "mine", parameters={"temperature": 0.5, "tone": "formal"})
    assert backend.asked == [("hi", "mine", {"temperature": 0.5, "tone": "formal"})]


async def test_a_backend_of_ours_is_asked_by_its_own_method(generator, webui: WebUI):
    generator.register_backend("webui", OobaboogaBackend("llama2", base_url=webui.url))
    assert await generator.generate_response("hi", "webui", parameters={"max_tokens": 7}) == "llama2 on hi"
    assert webui.received[0]["max_tokens"] == 7
    assert "".join([piece async for piece in generator.generate_stream("hi", "webui")]) == "llama2 on hi "


async def test_an_object_with_generate_is_enough(generator):
    class Plain:
        async def generate(self, prompt, model=None, **kwargs):  # noqa: ARG002
            return f"{model}: {prompt}"

    generator.register_backend("plain", Plain())
    assert await generator.generate_response("hi", "plain") == "plain: hi"
    assert [piece async for piece in generator.generate_stream("hi", "plain")] == ["plain: hi"]


async def test_earlier_messages(generator, upstream: Upstream):
    context = [{"role": "user", "content": "I am Ada."}, {"role": "assistant", "content": "Hello Ada."}]
    await generator.generate_response("Who am I?", "echo", context)
    assert upstream.chats[-1].body["messages"] == [*context, {"role": "user", "content": "Who am I?"}]
    backend = Saying("Ada")
    generator.register_backend("mine", backend)
    await generator.generate_response("Who am I?", "mine", context)
    assert backend.asked[0][0] == "User: I am Ada.\nAssistant: Hello Ada.\nUser: Who am I?\nAssistant:"


async def test_a_state_shapes_the_request(generator, upstream: Upstream):
    state = {"excitement": 1.0}
    await generator.generate_response(
        "hi", "echo", parameters={"temperature": 0.7, "max_tokens": 100}, emotional_state=state
    )
    body = upstream.chats[-1].body
    assert body["temperature"] == pytest.approx(1.0)
    assert body["max_tokens"] == 119
    assert body["messages"][0] == {
        "role": "system",
        "content": "Let the tone of your answer be markedly lively and energetic.",
    }
    await generator.generate_response("hi", "echo", parameters={"temperature": 0.7}, emotional_state={})
    assert upstream.chats[-1].body == {
        "temperature": 0.7,
        "model": "echo",
        "messages": [{"role": "user", "content": "hi"}],
    }
    assert await generator.generate_response("hi", "tiny", emotional_state=state) == HELLO


# ---- what fails


async def test_an_unknown_model(generator):
    with pytest.raises(ModelNotFoundError, match=r"There is no model 'tinny'\. Did you mean 'tiny'"):
        await generator.generate_response("hi", "tinny")
    with pytest.raises(ModelNotFoundError, match="Did you mean 'echo'"):
        [piece async for piece in generator.generate_stream("hi", "ecko")]


async def test_an_unknown_model_is_not_fallen_back_from(forge):
    generator = ResponseGenerator(forge=forge, fallbacks=["tiny"])
    with pytest.raises(ModelNotFoundError, match="no model 'gpt-9'"):
        await generator.generate_response("hi", "gpt-9")


async def test_a_server_that_is_gone_is_named(forge):
    generator = ResponseGenerator(forge=forge, connections=[Connection("http://127.0.0.1:9")])
    with pytest.raises(ModelNotFoundError, match=r"Known: tiny. http://127.0.0.1:9/v1 can't be reached"):
        await generator.generate_response("hi", "zzz")
    assert await generator.generate_response("hi", "tiny") == HELLO


async def test_without_any_model(tmp_path):
    with pytest.raises(ModelNotFoundError, match="There is no model: register a backend"):
        await ResponseGenerator(forge=LlamaForge(":memory:"), models_dir=tmp_path).generate_response("hi")


async def test_the_fallback_is_used_and_named(forge, upstream: Upstream):
    connection = Connection(upstream.openai_url, models=["error500", "echo"])
    generator = ResponseGenerator(forge=forge, connections=[connection], fallbacks=["gone", "tiny"])
    answer = await generator.generate_response("hi", "error500")
    assert answer == HELLO
    assert (answer.model_id, answer.requested_model, answer.fallback) == ("tiny", "error500", True)
    assert "upstream exploded" in answer.failures["error500"]
    assert "no model 'gone'" in answer.failures["gone"]
    stream = generator.generate_stream("hi", "error500")
    assert stream.model_id is None
    assert "".join([piece async for piece in stream]) == HELLO
    assert (stream.model_id, stream.source, stream.fallback, set(stream.failures)) == (
        "tiny", "local", True, {"error500", "gone"}
    )  # fmt: skip


@pytest.mark.parametrize(
    "error", [ConnectionError("gone"), TimeoutError("late"), RuntimeError("broken"), APIError("no")]
)
async def test_all_fail(forge, error):
    generator = ResponseGenerator(forge=forge, fallbacks=["second"])
    generator.register_backend("first", Saying(error))
    generator.register_backend("second", Saying(RuntimeError("as well")))
    with pytest.raises(type(error), match=str(error)) as caught:
        await generator.generate_response("hi", "first")
    assert caught.value.__notes__ == ["The fallback 'second' failed, too: as well"]
    with pytest.raises(type(error), match=str(error)):
        [piece async for piece in generator.generate_stream("hi", "first")]


async def test_the_callers_mistakes_are_not_fallen_back_from(generator):
    generator._fallbacks = ("echo",)
    with pytest.raises(ValueError, match="temperatur"):
        await generator.generate_response("hi", "tiny", parameters={"temperatur": 1})
    for wrong in ({"prompt": 5}, {"context": "before"}, {"context": [{"role": "user"}]}, {"parameters": []}, {"model_id": 5},
                  {"emotional_state": {"joy": 2}}):  # fmt: skip
        with pytest.raises(ValueError, match=r"must be"):
            await generator.generate_response(**{"prompt": "hi", "model_id": "tiny"} | wrong)


async def test_a_deadline_for_each(forge):
    generator = ResponseGenerator(forge=forge, timeout=60.0, timeouts={"slow": 0.05}, fallbacks=["tiny"])
    generator.register_backend("slow", Saying(600.0, "late"))
    began = asyncio.get_running_loop().time()
    answer = await generator.generate_response("hi", "slow")
    assert answer == HELLO
    assert answer.failures == {"slow": "The model 'slow' did not answer within 0.05 seconds."}
    assert asyncio.get_running_loop().time() - began < 60
    generator._fallbacks = ()
    with pytest.raises(TimeoutError, match=r"within 0.05 seconds"):
        await generator.generate_response("hi", "slow")


async def test_a_stream_that_has_begun_is_not_continued_by_another(forge):
    generator = ResponseGenerator(forge=forge, timeout=2.0, fallbacks=["tiny"])
    for broken, error in (
        (Saying("one ", ConnectionError("gone")), ConnectionError),
        (Saying("one ", 600.0), TimeoutError),
    ):
        generator.register_backend("broken", broken)
        stream = generator.generate_stream("hi", "broken")
        pieces = []
        with pytest.raises(error):
            pieces.extend([piece async for piece in stream if not pieces.append(piece)])
        assert pieces == ["one "]
        assert (stream.model_id, stream.fallback) == ("broken", False)


async def test_cancelling_ends_the_request(generator, upstream: Upstream):
    stream = generator.generate_stream("hi", "slow")
    await anext(stream)
    await stream.aclose()
    await upstream.wait_for_async(lambda u: u.chats[-1].disconnected)
    task = asyncio.create_task(generator.generate_response("hi", "stall"))
    await upstream.wait_for_async(lambda u: len(u.chats) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await upstream.wait_for_async(lambda u: u.chats[-1].disconnected)


async def test_an_empty_answer_is_an_answer(generator):
    assert await generator.generate_response("hi", "empty") == ""
    assert [piece async for piece in generator.generate_stream("hi", "empty")] == []


def test_the_configuration(forge):
    generator = ResponseGenerator({"forge": forge, "timeout": 3, "fallbacks": ["tiny"]})
    assert (generator._timeout, generator._fallbacks) == (3.0, ("tiny",))
    for wrong in (
        {"timout": 3},
        {"timeout": 0},
        {"timeout": "3"},
        {"timeouts": {"a": -1}},
        {"connections": ["http://x"]},
    ):
        with pytest.raises(ValueError, match=r"Did you mean 'timeout'|must be"):
            ResponseGenerator(wrong)
    with pytest.raises(ValueError, match="must be such as"):
        Connection("nowhere")
    for wrong in (Saying, object(), None):
        with pytest.raises(ValueError, match="method 'generate"):
            generator.register_backend("mine", wrong)
    with pytest.raises(ValueError, match="not blank"):
        generator.register_backend(" ", Saying())
    assert "sk-secret" not in repr(Connection("http://x", "sk-secret"))


async def test_tasks_that_ask_a_connected_model_at_once_leave_one_client(forge, upstream, monkeypatch):
    made = []
    make = Connection.backend
    monkeypatch.setattr(Connection, "backend", lambda *given: made.append(make(*given)) or made[-1])
    generator = ResponseGenerator(forge=forge, connections=[Connection(upstream.openai_url, models=["echo"])])
    answers = await asyncio.gather(*(generator.generate_response("hello", "echo") for _ in range(4)))
    assert {str(answer) for answer in answers} == {"hello"}
    assert sum(backend.is_model_loaded() for backend in made) == 1
