"""The backend on text-generation-webui: what it sends, its models, streams, and every way a server can fail."""

import asyncio

import pytest

from backends import OobaboogaBackend
from consciousness.express import shaped
from llamaforge.exceptions import APIError, AuthenticationError, ModelLoadError, ModelNotFoundError
from tests.support.upstream import Upstream
from tests.support.webui import WebUI


def backend_of(server: WebUI | Upstream, model: str | None = None, **options):
    return OobaboogaBackend(model, base_url=server.url, **options)


async def collected(stream):
    return [piece async for piece in stream]


async def test_what_is_sent(webui: WebUI):
    backend = backend_of(webui)
    backend.update_emotional_parameters({"calm": 1.0})
    parameters = {"max_tokens": 9, "min_p": 0.1, "stopping_strings": "END", "seed": 5, "extra_body": {"newer": 1}}
    assert await backend.generate_text("hi", parameters) == "None on hi"
    assert webui.received == [
        {
            "model": "default", "prompt": "hi", "max_tokens": 9, "temperature": 0.7, "top_p": 0.9, "top_k": 40,
            "repetition_penalty": 1.1, "do_sample": True, "min_p": 0.1, "stop": ["END"], "seed": 5, "newer": 1,
        }
    ]  # fmt: skip
    assert webui.loads == []


async def test_generate_leaves_the_state_aside(webui: WebUI):
    backend = backend_of(webui)
    backend.update_emotional_parameters({"calm": 1.0})
    await backend.generate("hi", temperature=0.5, max_tokens=-1)
    assert webui.received == [{"model": "default", "prompt": "hi", "temperature": 0.5, "auto_max_new_tokens": True}]


async def test_another_rule_and_the_chat_endpoint(webui: WebUI):
    backend = backend_of(webui, endpoint="chat", rule=shaped)
    backend.update_emotional_parameters({"excitement": 1.0})
    assert await backend.generate_text("hi", {"temperature": 0.7, "instruction_template": "Alpaca"}) == "None on hi"
    (body,) = webui.received
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert (body["mode"], body["instruction_template"]) == ("instruct", "Alpaca")
    assert body["temperature"] == pytest.approx(1.0)
    assert "".join(await collected(backend.generate_stream("one two"))) == "None on one two "


async def test_the_model_is_loaded_once(webui: WebUI):
    backend = backend_of(webui, "llama2", load_args={"ctx_size": 4096})
    answers = await asyncio.gather(*(backend.generate_text(word) for word in "abcd"))
    assert answers == [f"llama2 on {word}" for word in "abcd"]
    assert webui.loads == [{"model_name": "llama2", "args": {"ctx_size": 4096}}]
    assert backend.current_model == "llama2"
    assert await backend.generate("x", model="gpt-j-6b") == "gpt-j-6b on x"
    assert await backend.generate("x") == "llama2 on x"


async def test_a_model_that_is_loaded_already_is_not_loaded_again(webui: WebUI):
    webui.loaded = "llama2"
    assert await backend_of(webui, "llama2").generate_text("hi") == "llama2 on hi"
    assert webui.loads == []


async def test_a_model_that_cannot_be_loaded(webui: WebUI):
    with pytest.raises(ModelLoadError, match=r"could not load 'broken': .* Failed to load the model"):
        await backend_of(webui, "broken").generate_text("hi")
    with pytest.raises(ModelLoadError, match="Did you mean 'llama2'"):
        await backend_of(webui, "llama-2").generate_text("hi")
    with pytest.raises(ModelLoadError, match="could not load"):
        await collected(backend_of(webui, "broken").generate_stream("hi"))
    assert webui.received == []


async def test_it_streams_as_it_comes(webui: WebUI):
    webui.pause = 0.05
    backend = backend_of(webui)
    assert backend.supports_streaming()
    began = asyncio.get_running_loop().time()
    times = [asyncio.get_running_loop().time() - began async for _ in backend.generate_stream("a b c")]
    assert len(times) == 5
    assert times[-1] - times[0] > 0.15


async def test_closing_a_stream_tells_the_server(webui: WebUI):
    webui.pause = 0.02
    stream = backend_of(webui).generate_stream("word " * 500)
    await anext(stream)
    await stream.aclose()
    await asyncio.wait_for(webui.left.wait(), 5)


async def test_the_environment(monkeypatch, webui: WebUI):
    webui.api_key = "secret-key"
    monkeypatch.setenv("OOBABOOGA_BASE_URL", f"{webui.url}/v1/")
    with pytest.raises(AuthenticationError, match="refused the API key"):
        await OobaboogaBackend().generate_text("hi")
    monkeypatch.setenv("OOBABOOGA_API_KEY", "secret-key")
    assert await OobaboogaBackend().generate_text("hi") == "None on hi"
    with pytest.raises(AuthenticationError):  # the environment's key is for the environment's server
        await backend_of(webui).generate_text("hi")
    assert await backend_of(webui, api_key="secret-key").generate_text("hi") == "None on hi"


# ---- other servers, and failures


async def test_a_server_without_the_internal_api(upstream: Upstream):
    backend = backend_of(upstream, "echo")
    assert await backend.generate_text("say this back") == "say this back"
    assert upstream.received[-1].body["model"] == "echo"
    assert "".join(await collected(backend.generate_stream("and this"))).strip() == "and this"
    with pytest.raises(ModelNotFoundError, match="nobody"):
        await backend_of(upstream, "nobody").generate_text("hi")


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
@pytest.mark.parametrize(
    ("model", "error", "sentence"),
    [
        ("drop", ConnectionError, "broke the connection"),
        ("cut", ConnectionError, "in the middle"),
        ("instream", APIError, "broke off its answer"),
        ("stall", TimeoutError, "did not answer in time"),
        ("error500", APIError, "upstream exploded"),
        ("error429", APIError, "slow down"),
        ("error401", AuthenticationError, "refused the API key"),
        ("html502", APIError, "answered 502: <html>"),
        ("hugeline", APIError, "is no answer"),
    ],
)
async def test_a_stream_that_fails(upstream: Upstream, endpoint, model, error, sentence):
    backend = backend_of(upstream, model, timeout=0.3 if model == "stall" else 30, endpoint=endpoint)
    with pytest.raises(error, match=sentence):
        await collected(backend.generate_stream("hi"))


@pytest.mark.parametrize(
    ("model", "error"),
    [("drop", ConnectionError), ("stall", TimeoutError), ("error503", APIError), ("instream", APIError)],
)
async def test_an_answer_that_fails(upstream: Upstream, model, error):
    with pytest.raises(error):
        await backend_of(upstream, model, timeout=0.3 if model == "stall" else 30).generate_text("hi")


async def test_what_is_no_event_is_an_error(upstream: Upstream):
    with pytest.raises(APIError, match="can't be read as JSON"):
        await collected(backend_of(upstream, "garbage").generate_stream("hi", {"max_tokens": 20}))


async def test_nobody_is_there():
    backend = OobaboogaBackend("m", base_url="http://127.0.0.1:9", api_key="secret-key")
    with pytest.raises(ConnectionError, match=r"http://127.0.0.1:9/v1 can't be reached") as caught:
        await backend.generate_text("hi")
    assert "secret-key" not in str(caught.value)
    with pytest.raises(ConnectionError):
        await collected(backend.generate_stream("hi"))


@pytest.mark.parametrize(
    "wrong",
    [{"base_url": "localhost:5000"}, {"base_url": "ftp://x"}, {"base_url": "http://"}, {"timeout": 0}, {"timeout": "1"},
     {"endpoint": "talk"}, {"model_name": "  "}, {"model_name": 5}],
)  # fmt: skip
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError, match=r"must be"):
        OobaboogaBackend(**wrong)


@pytest.mark.parametrize(
    "parameters", [{"temperatur": 1}, {"mode": "chat"}, {"temperature": float("nan")}, {"extra_body": 1}]
)
async def test_wrong_parameters(webui: WebUI, parameters):
    with pytest.raises(ValueError, match=r"must be|no parameter"):
        await backend_of(webui).generate_text("hi", parameters)
    with pytest.raises(ValueError, match="The prompt must be text"):
        await backend_of(webui).generate_text(b"hi")
    assert webui.received == []


def test_a_wrong_state_leaves_the_former():
    backend = OobaboogaBackend()
    backend.update_emotional_parameters({"joy": 0.5})
    for wrong in ({"joy": 0.1, "hunger": 0.5}, {"joy": 2}, {"calm": float("nan")}, None):
        with pytest.raises(ValueError, match=r"emotion|must be"):
            backend.update_emotional_parameters(wrong)
        assert dict(backend.emotional_modifiers) == {"joy": 0.5}
    backend.update_emotional_parameters({"calm": 0.2})
    assert dict(backend.emotional_modifiers) == {"calm": 0.2}
    assert dict(OobaboogaBackend().emotional_modifiers) == {}


def test_one_backend_serves_several_event_loops():
    from tests.support.webui import serve

    backends = []

    async def ask(port=0):
        async with serve(port) as server:
            backend = backends[0] if backends else OobaboogaBackend("llama2", base_url=server.url)
            backends.append(backend)
            backend.current_model = None
            return server.port, await asyncio.gather(*(backend.generate_text("x") for _ in range(3)))

    port, first = asyncio.run(ask())
    assert first == asyncio.run(ask(port))[1] == ["llama2 on x"] * 3
