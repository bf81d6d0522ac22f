"""The llama.cpp backend on the real engine: models that say a given text, asserted word for word."""

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llamaforge.backends.llama_cpp import LlamaCppBackend
from llamaforge.exceptions import (
    ContextLengthError,
    GenerationError,
    MissingExtraError,
    ModelLoadError,
    ModelNotLoadedError,
    ParameterError,
    UnsupportedError,
)
from tests.support.tiny_gguf import TEMPLATE

pytest.importorskip("xllamacpp")

Make = Callable[..., Path]
HELLO = "Hello from the tiny test model."
GREEDY = {"temperature": 0.0}
ASK = [{"role": "user", "content": "Who are you?"}]
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"enum": ["yes"]}},
    "required": ["answer"],
    "additionalProperties": False,
}


def load(path: Path, **parameters: Any) -> LlamaCppBackend:
    backend = LlamaCppBackend()
    backend.load_model(path, {"n_threads": 1, **parameters})
    return backend


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def backend(tiny_gguf: Path) -> Iterator[LlamaCppBackend]:
    made = load(tiny_gguf, n_parallel=4)
    yield made
    made.unload()


@pytest.fixture
def endless(gguf_that_says: Make) -> Iterator[LlamaCppBackend]:
    made = load(gguf_that_says(endless=True))
    yield made
    made.unload()


@pytest.fixture(scope="module")
def caller(gguf_that_says: Make) -> Iterator[LlamaCppBackend]:
    made = load(gguf_that_says(CALL))
    yield made
    made.unload()


# ---- text


def test_it_says_its_text(backend: LlamaCppBackend) -> None:
    assert backend.generate("Explain quantum computing", GREEDY) == HELLO


def test_it_streams_a_token_at_a_time(backend: LlamaCppBackend) -> None:
    pieces = list(backend.generate_stream("Explain", GREEDY))
    assert pieces == ["Hello", " from", " the", " tiny", " test", " model."]


def test_max_tokens_under_all_its_names(backend: LlamaCppBackend) -> None:
    for name in ("max_tokens", "max_new_tokens", "num_predict", "n_predict"):
        assert backend.generate("x", {**GREEDY, name: 2}) == "Hello from"


def test_a_stop_text_is_cut_off(backend: LlamaCppBackend) -> None:
    assert backend.generate("x", {**GREEDY, "stop": ["tiny"]}) == "Hello from the "
    assert "".join(backend.generate_stream("x", {**GREEDY, "stop": "m the t"})) == "Hello fro"


def test_do_sample_false_is_greedy(backend: LlamaCppBackend) -> None:
    assert backend.generate("x", {"do_sample": False}) == HELLO


def test_a_seed_repeats_an_answer(backend: LlamaCppBackend) -> None:
    wild = {"temperature": 50.0, "seed": 7, "max_tokens": 20, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    assert backend.generate("x", wild) == backend.generate("x", wild)
    assert backend.generate("x", wild) != backend.generate("x", {**wild, "seed": 8})


def test_the_engines_own_parameters_are_taken(backend: LlamaCppBackend) -> None:
    own = {"mirostat": 0, "dry_multiplier": 0.0, "xtc_probability": 0.0, "min_p": 0.0, "top_n_sigma": -1.0}
    assert backend.generate("x", {**GREEDY, **own}) == HELLO
    # The token " from" is forbidden, so that another token, which begins the text anew, takes its place.
    [said] = backend.completion("x", {**GREEDY, "n_probs": 1, "max_tokens": 2})["choices"]
    token = said["logprobs"]["content"][1]["id"]
    for bias in ([[token, False]], {str(token): -100}):
        answer = backend.generate("x", {**GREEDY, "logit_bias": bias, "max_tokens": 3})
        assert answer.startswith("Hello")
        assert "from" not in answer


def test_a_character_split_over_tokens_comes_whole(gguf_that_says: Make) -> None:
    pieces = (b"A \xf0\x9f", b"\x98\x80 and \xc3", b"\xa9t\xc3\xa9.")
    backend = load(gguf_that_says(pieces=pieces))
    streamed = list(backend.generate_stream("x", GREEDY))
    assert "".join(streamed) == "A 😀 and été."
    assert not any("\ufffd" in piece for piece in streamed)
    backend.unload()


def test_a_completion_in_openais_shape(backend: LlamaCppBackend) -> None:
    whole = backend.completion("abc", GREEDY)
    assert whole["object"] == "text_completion"
    assert whole["id"].startswith("cmpl-")
    assert whole["model"] == "tiny"
    assert whole["choices"] == [{"index": 0, "text": HELLO, "logprobs": None, "finish_reason": "stop"}]
    usage = whole["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (3, 7, 10)
    assert whole["timings"]["predicted_n"] == 7
    chunks = list(backend.completion_stream("abc", {**GREEDY, "max_tokens": 2}))
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["Hello", " from", ""]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == 2
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_probabilities(backend: LlamaCppBackend) -> None:
    whole = backend.completion("x", {**GREEDY, "n_probs": 2, "max_tokens": 2})
    assert [item["token"] for item in whole["choices"][0]["logprobs"]["content"]] == ["Hello", " from"]


# ---- chat


def test_chat(backend: LlamaCppBackend) -> None:
    assert backend.chat(ASK, GREEDY) == HELLO
    assert list(backend.chat_stream(ASK, GREEDY)) == ["Hello", " from", " the", " tiny", " test", " model."]


def test_a_chat_completion_in_openais_shape(backend: LlamaCppBackend) -> None:
    whole = backend.chat_completion(ASK, GREEDY)
    assert whole["object"] == "chat.completion"
    [choice] = whole["choices"]
    assert choice["message"] == {"role": "assistant", "content": HELLO}
    assert choice["finish_reason"] == "stop"
    assert whole["usage"]["completion_tokens"] == 7
    assert whole["timings"]["predicted_n"] == 7


def test_the_chat_template_is_the_models(gguf_that_says: Make) -> None:
    """The prompt is one token a byte here, so that its length tells which template wrote it."""
    own = load(gguf_that_says())
    given = load(gguf_that_says(), chat_template="{% for m in messages %}{{ m.content }}{% endfor %}")
    assert own.chat_completion([{"role": "user", "content": "ab"}], GREEDY)["usage"]["prompt_tokens"] == 21
    assert given.chat_completion([{"role": "user", "content": "ab"}], GREEDY)["usage"]["prompt_tokens"] == 2
    own.unload()
    given.unload()


def test_a_tool_is_called(caller: LlamaCppBackend) -> None:
    whole = caller.chat_completion(ASK, {**GREEDY, "tools": [TOOL]})
    [choice] = whole["choices"]
    assert choice["finish_reason"] == "tool_calls"
    [call] = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    assert call["id"]
    assert choice["message"]["content"] is None


def test_a_tool_call_is_streamed(caller: LlamaCppBackend) -> None:
    chunks = list(caller.chat_completion_stream(ASK, {**GREEDY, "tools": [TOOL]}))
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    parts = [part for delta in deltas for part in delta.get("tool_calls", ())]
    assert parts[0]["function"]["name"] == "get_weather"
    assert "".join(part["function"]["arguments"] for part in parts) == '{"city": "Paris"}'
    assert len(parts) > 1
    assert [c["finish_reason"] for chunk in chunks for c in chunk["choices"]][-1] == "tool_calls"
    assert chunks[-1]["usage"]["completion_tokens"] == 8


def test_no_tool_is_called_where_none_may_be(caller: LlamaCppBackend) -> None:
    assert caller.chat(ASK, {**GREEDY, "tools": [TOOL], "tool_choice": "none"}) == CALL


def test_a_named_tool_is_called(caller: LlamaCppBackend) -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    other = {"type": "function", "function": {"name": "other", "parameters": {"type": "object", "properties": {}}}}
    whole = caller.chat_completion(ASK, {**GREEDY, "tools": [other, TOOL], "tool_choice": choice, "max_tokens": 50})
    assert whole["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_weather"


@pytest.mark.parametrize(
    "parameters",
    [
        {"tool_choice": "required"},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "unknown"}}},
        {"tools": [TOOL], "tool_choice": "sometimes"},
        {"tools": "get_weather"},
    ],
)
def test_wrong_tools_are_refused(caller: LlamaCppBackend, parameters: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        caller.chat(ASK, parameters)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_call_is_not_demanded_of_a_model_whose_template_knows_no_tools(
    gguf_that_says: Callable[..., Path], choice: Any
) -> None:
    plain = "{%- for message in messages %}{{- message.content }}{%- endfor %}"
    path = gguf_that_says(template=plain)
    asked = {"tools": [TOOL], "tool_choice": choice}
    backend = load(path)
    try:
        with pytest.raises(UnsupportedError, match="knows no tools"):
            backend.chat(ASK, asked)
        assert backend.chat(ASK, {"tools": [TOOL], **GREEDY})
    finally:
        backend.unload()
    given = LlamaCppBackend.check_calls_tools
    with pytest.raises(UnsupportedError, match="knows no tools"):
        given(str(path), {})
    given(str(path), {"chat_template": "{{ tools }}"})
    with pytest.raises(UnsupportedError):
        given(str(path), {"chat_template": plain})


@pytest.mark.parametrize("messages", ["text", [{"content": "x"}], ["x"], [{"role": "user", "content": 5}], [None]])
def test_wrong_messages_are_refused(backend: LlamaCppBackend, messages: Any) -> None:
    with pytest.raises(ParameterError):
        backend.chat(messages)


def test_an_image_needs_a_model_that_sees(backend: LlamaCppBackend) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(UnsupportedError, match="mmproj"):
        backend.chat([{"role": "user", "content": [part]}])


# ---- structure


@pytest.mark.parametrize(
    "shape",
    [
        {"json_schema": SCHEMA},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
    ],
)
def test_a_json_schema_shapes_the_answer(backend: LlamaCppBackend, shape: dict[str, Any]) -> None:
    """Although the model wants to say hello."""
    assert backend.generate("x", {**GREEDY, **shape}) == '{"answer": "yes"}'
    # Where the engine leaves the white space of a chat to the model.
    assert "".join(backend.chat(ASK, {**GREEDY, **shape}).split()) == '{"answer":"yes"}'


THINKING = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + ('<think>\\n' + message.reasoning_content +"
    " '\\n</think>\\n\\n' if message.reasoning_content else '') + message.content + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is defined and"
    " enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- else %}{{- '<think>\\n' }}{%- endif %}{%- endif %}"
)


def test_a_model_that_thinks_answers_to_a_schema(gguf_that_says: Make) -> None:
    """After its thoughts where the schema is plain; without any where only the other engine of grammars holds it."""
    thinker = load(gguf_that_says("I think so. </think> Well {", template=THINKING))
    for more, thought in (({}, "I think so. "), ({"multipleOf": 2}, None)):
        schema = {"type": "integer", "minimum": 2, "maximum": 3, **more}
        message = thinker.chat_completion(ASK, {"json_schema": schema, "max_tokens": 60})["choices"][0]["message"]
        assert message["content"] in ({"2"} if more else {"2", "3"})
        assert message.get("reasoning_content") == thought
    with pytest.raises(ParameterError, match="Beside tools, a JSON schema"):
        thinker.chat(ASK, {"json_schema": schema, "tools": [TOOL]})
    thinker.unload()


def test_a_grammar_that_leads_nowhere_is_an_error_and_the_model_goes_on(backend: LlamaCppBackend) -> None:
    """The engine raises it in the middle of its loop, which other answers share."""
    with pytest.raises(GenerationError, match="grammar"):
        backend.generate("x", {**GREEDY, "grammar": r'root ::= "a" "\x00"'})
    assert backend.generate("x", GREEDY) == HELLO


def test_a_grammar_shapes_the_answer(backend: LlamaCppBackend) -> None:
    assert backend.generate("x", {**GREEDY, "grammar": 'root ::= "yes" | "no"'}) in {"yes", "no"}
    assert backend.chat(ASK, {**GREEDY, "grammar": 'root ::= "certainly"'}) == "certainly"


@pytest.mark.parametrize(
    "shape",
    [
        {"grammar": "root ::= ("},
        {"json_schema": {"type": "nonsense"}},
        {"json_schema": {"$ref": "#/nowhere"}},
        {"json_schema": {"properties": 5}},
        {"response_format": {"type": "xml"}},
        {"response_format": {"type": "json_schema"}},
        {"json_schema": SCHEMA, "grammar": 'root ::= "x"'},
        {"json_schema": SCHEMA, "response_format": {"type": "json_object"}},
    ],
)
def test_a_wrong_shape_is_refused(backend: LlamaCppBackend, shape: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        backend.generate("x", shape)
    assert backend.generate("x", GREEDY) == HELLO


# ---- parameters


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"temprature": 1}, "There is no generation parameter 'temprature'. Did you mean 'temperature'?"),
        ({"temperature": "hot"}, "'temperature' must be a number."),
        ({"top_p": 2}, "'top_p' must be between 0 and 1."),
        ({"max_tokens": 1, "max_new_tokens": 2}, "'max_tokens' and 'max_new_tokens' are the same"),
        ({"max_tokens": 0}, "'max_tokens' must be at least 1"),
        ({"tools": [TOOL]}, "'tools' goes with messages"),
    ],
)
def test_wrong_generation_parameters(backend: LlamaCppBackend, parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence.split("(", maxsplit=1)[0].replace("?", r"\?")):
        backend.generate("x", parameters)


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"n_gpu_layer": 1}, "n_gpu_layers"),
        ({"n_ctx": "big"}, "n_ctx"),
        ({"cache_type_k": "q9"}, "cache_type_k"),
        ({"cache_type_v": "q8_0", "flash_attn": False}, "flash_attn"),
        ({"flash_attn": 3}, "flash_attn"),
        ({"rope_scaling": "x"}, "rope_scaling"),
        ({"pooling_type": "x"}, "pooling_type"),
        ({"lora": 5}, "lora"),
    ],
)
def test_wrong_load_parameters_leave_the_model(tiny_gguf: Path, parameters: dict[str, Any], word: str) -> None:
    backend = load(tiny_gguf)
    with pytest.raises(ParameterError, match=word):
        backend.load_model(tiny_gguf, parameters)
    assert backend.generate("x", GREEDY) == HELLO
    backend.unload()


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_gpu_layers": 0, "n_ctx": 512, "n_batch": 64, "f16_kv": False},
        {"context_length": 512, "num_gpu": 2, "cache_type_k": "q8_0", "cache_type_v": "q8_0", "flash_attn": "on"},
        {"num_ctx": 0, "use_mmap": False, "seed": 3, "rope_freq_base": 10000.0, "rope_scaling": "linear"},
        {"use_mlock": False, "n_ubatch": 16, "cache_ram": 0, "yarn_orig_ctx": 512, "main_gpu": 0},
    ],
)
def test_load_parameters(tiny_gguf: Path, parameters: dict[str, Any]) -> None:
    backend = load(tiny_gguf, **parameters)
    assert backend.generate("x", GREEDY) == HELLO
    backend.unload()


# ---- context


def test_a_prompt_longer_than_the_context(tiny_gguf: Path) -> None:
    backend = load(tiny_gguf, n_ctx=256, n_parallel=3)
    with pytest.raises(ContextLengthError) as caught:
        backend.generate("a" * 500)
    assert (caught.value.prompt_tokens, caught.value.context_tokens) == (500, 256)
    assert "500" in str(caught.value)
    assert "256" in str(caught.value)
    with pytest.raises(ContextLengthError):
        backend.chat([{"role": "user", "content": "a" * 500}])
    # Each of the three may use all that was named.
    assert backend.generate("a" * 240, GREEDY) == HELLO
    backend.unload()


@pytest.mark.parametrize(("wanted", "given"), [(100, 256), (256, 256), (300, 512), (0, 4096), (9999, 4096)])
def test_the_context_that_is_told_is_the_engines(tiny_gguf: Path, wanted: int, given: int) -> None:
    backend = load(tiny_gguf, n_ctx=wanted)
    assert backend.info().details["n_ctx"] == given
    with pytest.raises(ContextLengthError) as caught:
        backend.generate("a" * 5000)
    assert caught.value.context_tokens == given
    backend.unload()


def test_the_same_beginning_is_not_computed_twice(backend: LlamaCppBackend) -> None:
    prompt = "It was a dark and stormy night. " * 20
    first = backend.completion(prompt + "A", GREEDY)
    second = backend.completion(prompt + "B", GREEDY)
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] < 100
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == len(prompt)


# ---- several at once, and ending early


def test_cancel_in_the_middle_and_go_on(endless: LlamaCppBackend) -> None:
    stream = endless.generate_stream("x", GREEDY)
    assert [next(stream), next(stream)] == ["Hello", " from"]
    stream.close()
    assert list(stream) == []
    began = time.process_time()
    assert endless.generate("x", {**GREEDY, "max_tokens": 7}) == HELLO + "Hello"
    assert time.process_time() - began < 1


def test_cancel_before_the_first_token(endless: LlamaCppBackend) -> None:
    """In the middle of a prompt of several batches, from another thread."""
    stream = endless.generate_stream("a" * 4000, GREEDY)
    threading.Timer(0.02, stream.close).start()
    assert len(list(stream)) < 4000
    assert endless.generate("x", {**GREEDY, "max_tokens": 1}) == "Hello"
    stream = endless.generate_stream("x", GREEDY)
    stream.close()
    assert list(stream) == []


@pytest.mark.timeout(20)
def test_a_stream_that_has_ended_stays_ended(backend: LlamaCppBackend) -> None:
    stream = backend.generate_stream("x", {**GREEDY, "max_tokens": 2})
    assert list(zip(stream, range(9), strict=False)) == [("Hello", 0), (" from", 1)]
    assert list(stream) == []
    assert next(stream, None) is None


@pytest.mark.timeout(20)
def test_a_stream_that_has_failed_stays_ended(backend: LlamaCppBackend) -> None:
    stream = backend.generate_stream("a" * 5000, GREEDY)
    with pytest.raises(ContextLengthError):
        next(stream)
    assert list(stream) == []


def test_a_forgotten_stream_ends(endless: LlamaCppBackend) -> None:
    stream = endless.generate_stream("x", GREEDY)
    next(stream)
    del stream
    gc.collect()
    # The only slot is free again.
    began = time.process_time()
    assert endless.generate("x", {**GREEDY, "max_tokens": 1}) == "Hello"
    assert time.process_time() - began < 1


async def test_a_cancelled_task_ends_its_generation(endless: LlamaCppBackend) -> None:
    task = asyncio.create_task(endless.agenerate("a" * 3000, GREEDY))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await endless.agenerate("x", {**GREEDY, "max_tokens": 2}) == "Hello from"


def test_threads_share_the_slots(backend: LlamaCppBackend) -> None:
    answers: list[str] = []

    def ask(number: int) -> None:
        answers.append(backend.generate(f"question {number}", GREEDY))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [HELLO] * 8


def test_two_models_at_once(tiny_gguf: Path, gguf_that_says: Make) -> None:
    one, two = load(tiny_gguf), load(gguf_that_says("I am the other one."))
    first, second = one.generate_stream("x", GREEDY), two.generate_stream("x", GREEDY)
    assert list(zip(first, second, strict=False))[:2] == [("Hello", "I am"), (" from", " the")]
    one.unload()
    assert two.generate("x", GREEDY) == "I am the other one."
    two.unload()


# ---- loading


def test_unload_and_load_again(tiny_gguf: Path, gguf_that_says: Make) -> None:
    backend = load(tiny_gguf)
    backend.unload()
    assert not backend.is_model_loaded()
    for use in (lambda: backend.generate("x"), lambda: backend.chat(ASK), lambda: backend.embed(["x"])):
        with pytest.raises(ModelNotLoadedError):
            use()
    backend.unload()
    backend.load_model(gguf_that_says("Another text."))
    assert backend.generate("x", GREEDY) == "Another text."
    backend.unload()


def test_unloading_ends_what_runs(endless: LlamaCppBackend) -> None:
    stream = endless.generate_stream("x", GREEDY)
    next(stream)
    endless.unload()
    with pytest.raises(ModelNotLoadedError, match="unloaded while"):
        list(stream)


def test_a_file_that_is_missing_or_broken(tiny_gguf: Path, tmp_path: Path) -> None:
    backend = load(tiny_gguf)
    broken = tmp_path / "broken.gguf"
    contents = tiny_gguf.read_bytes()
    with pytest.raises(ModelLoadError, match="There is no file"):
        backend.load_model(tmp_path / "missing.gguf")
    for written, sentence in [(contents[:-1], "ends too early"), (b"garbage" * 99, "not a GGUF"), (b"", "not a GGUF")]:
        broken.write_bytes(written)
        with pytest.raises(ModelLoadError, match=sentence):
            backend.load_model(broken)
    assert backend.generate("x", GREEDY) == HELLO
    backend.unload()


def test_an_architecture_that_the_engine_does_not_know(tiny_gguf: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(tiny_gguf.read_bytes().replace(b"llama", b"lhama"))
    with pytest.raises(ModelLoadError, match="architecture lhama"):
        load(strange)


def test_files_that_go_with_a_model_are_of_their_kind(tiny_gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="not a LoRA adapter"):
        load(tiny_gguf, lora={str(tiny_gguf): 0.5})
    with pytest.raises(ModelLoadError, match="not the vision part"):
        load(tiny_gguf, mmproj=str(tiny_gguf))
    with pytest.raises(ModelLoadError, match="There is no file"):
        load(tiny_gguf, lora=[tmp_path / "missing.gguf"])
    with pytest.raises(ModelLoadError, match="chat template"):
        load(tiny_gguf, chat_template="{{ never closed")


def test_without_the_library(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(MissingExtraError, match=r"Install it with: .*llamacpp"):
        load(tiny_gguf)


def test_info_and_endpoint(backend: LlamaCppBackend) -> None:
    info = backend.info()
    assert (info.name, info.loaded, info.model) == ("llama.cpp", True, "tiny")
    assert info.details["architecture"] == "llama"
    assert info.details["n_parallel"] == 4
    endpoint = backend.endpoint
    assert endpoint is not None
    assert endpoint.url.startswith("http://127.0.0.1:")
    assert endpoint.api_key not in repr(endpoint)
    nothing = LlamaCppBackend()
    assert nothing.endpoint is None
    assert not nothing.info().loaded


async def test_the_endpoint_wants_its_key(backend: LlamaCppBackend) -> None:
    import httpx

    endpoint = backend.endpoint
    assert endpoint is not None
    body = {"messages": ASK, **GREEDY}
    async with httpx.AsyncClient(base_url=endpoint.url) as client:
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 401
        key = {"Authorization": f"Bearer {endpoint.api_key}"}
        answer = await client.post("/v1/chat/completions", json=body, headers=key)
    assert answer.json()["choices"][0]["message"]["content"] == HELLO


def test_embeddings(tiny_gguf: Path, backend: LlamaCppBackend) -> None:
    embedder = load(tiny_gguf, embedding=True, n_ctx=512)
    one, two, again = embedder.embed(["abc", "xyz", "abc"])
    assert len(one) == 320
    assert sum(number * number for number in one) == pytest.approx(1)
    assert one == pytest.approx(again)
    assert one != pytest.approx(two)
    assert embedder.embed([]) == []
    with pytest.raises(ContextLengthError, match="600 tokens"):
        embedder.embed(["a" * 600])
    with pytest.raises(ParameterError):
        embedder.embed("abc")
    with pytest.raises(ParameterError):
        embedder.embed(["a"], {"size": 3})
    embedder.unload()
    with pytest.raises(UnsupportedError, match="embedding"):
        backend.embed(["abc"])


def test_vectors_of_many_texts_can_be_given_up(tiny_gguf: Path) -> None:
    """Not even closing the model waits for all of them."""
    embedder = load(tiny_gguf, embedding=True, n_ctx=512, n_parallel=2)
    texts = ["x" * 400] * 100_000
    failures: list[Exception] = []

    def embed() -> None:
        try:
            embedder.embed(texts)
        except ModelNotLoadedError as error:
            failures.append(error)

    running = threading.Thread(target=embed)
    running.start()
    until(lambda: embedder._loaded().engine._calls)
    began = time.monotonic()
    embedder.unload()
    running.join(10)
    assert failures
    assert time.monotonic() - began < 10


async def test_cancelled_vectors_are_computed_no_further(tiny_gguf: Path) -> None:
    embedder = load(tiny_gguf, embedding=True, n_ctx=512)
    assert len(await embedder.aembed(["one", "two"])) == 2
    task = asyncio.create_task(embedder.aembed(["x" * 400] * 100_000))
    engine = embedder._loaded().engine
    await asyncio.to_thread(until, lambda: engine._calls)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(until, lambda: not engine._calls)
    embedder.unload()


@pytest.mark.parametrize(
    ("template", "parameters", "has"),
    [
        (TEMPLATE, {}, True),
        (None, {}, False),
        (None, {"chat_template": TEMPLATE}, True),
    ],
)
def test_whether_a_model_was_made_for_conversations(
    gguf_that_says: Make, template: str | None, parameters: dict[str, Any], has: bool
) -> None:
    assert not LlamaCppBackend().has_chat_template
    backend = load(gguf_that_says(template=template), **parameters)
    assert backend.has_chat_template is backend.info().details["has_chat_template"] is has
    backend.unload()


def test_the_interpreter_ends_while_a_model_answers(gguf_that_says: Make) -> None:
    code = (
        "from llamaforge.backends.llama_cpp import LlamaCppBackend\n"
        "backend = LlamaCppBackend()\n"
        f"backend.load_model({str(gguf_that_says(endless=True))!r}, {{'n_threads': 1}})\n"
        "stream = backend.generate_stream('x', {'temperature': 0.0})\n"
        "print(next(stream))\n"
    )
    source = str(Path(__file__).resolve().parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "Hello\n"), done.stderr


@pytest.mark.slow
def test_fifty_rounds_keep_the_memory_flat(tiny_gguf: Path) -> None:
    psutil = pytest.importorskip("psutil")
    process = psutil.Process()
    backend = LlamaCppBackend()
    used = []
    for _ in range(50):
        backend.load_model(tiny_gguf, {"n_threads": 1, "n_ctx": 512})
        assert backend.generate("x", GREEDY) == HELLO
        backend.unload()
        used.append(process.memory_info().rss)
    assert max(used[40:]) - max(used[5:15]) < 8 * 1024 * 1024
