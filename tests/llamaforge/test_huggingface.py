"""The huggingface backend writes: exact texts of tiny models, whole and streamed, alone and side by side."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llamaforge.backends.huggingface import HuggingFaceBackend
from llamaforge.exceptions import ContextLengthError, GenerationError, ParameterError, UnsupportedError
from tests.support.tiny_gguf import TEMPLATE
from tests.support.tiny_transformers import write_model, write_random

pytest.importorskip("transformers")
pytestmark = pytest.mark.xdist_group("transformers")

ONE_THREAD = {"device": "cpu", "n_threads": 1}
MANY = {
    "": "Hello from the tiny test model.",
    "A": "Alpha comes first, always",
    "B": "Beta follows after that",
    "C": "Gamma has a third sentence",
    "\n": "This is my answer",
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather", "parameters": {"type": "object", "properties": {}}},
}
HI = [{"role": "user", "content": "Hi"}]

Load = Callable[..., HuggingFaceBackend]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Loads a model written by `write_model(says, …)`."""

    def make(says: Any = MANY, parameters: dict[str, Any] | None = None, **others: Any) -> HuggingFaceBackend:
        folder = write_model(tmp_path_factory.mktemp("model"), says=says, **others)
        backend = HuggingFaceBackend()
        backend.load_model(folder, {**ONE_THREAD, **(parameters or {})})
        return backend

    return make


@pytest.fixture(scope="module")
def backend(load: Load) -> Iterator[HuggingFaceBackend]:
    loaded = load()
    yield loaded
    loaded.unload()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HuggingFaceBackend]:
    """A random model, whose samples differ and which never ends."""
    loaded = HuggingFaceBackend()
    loaded.load_model(write_random(tmp_path_factory.mktemp("wide"), dim=64, layers=2, heads=4, context=256), ONE_THREAD)
    yield loaded
    loaded.unload()


# ---- text


def test_says_its_text_and_ends(backend: HuggingFaceBackend) -> None:
    assert backend.generate("Hi") == MANY[""]
    assert backend.generate("A", {"temperature": 0}) == MANY["A"]


def test_streams_a_piece_with_each_token(backend: HuggingFaceBackend) -> None:
    assert list(backend.generate_stream("Hi")) == ["Hello", " from", " the", " tiny", " test", " model."]


@pytest.mark.parametrize("spelling", ["max_tokens", "max_new_tokens", "num_predict"])
def test_ends_after_so_many_tokens(backend: HuggingFaceBackend, spelling: str) -> None:
    assert backend.generate("Hi", {spelling: 2}) == "Hello from"
    assert backend.generate("Hi", {spelling: -1}) == MANY[""]
    with pytest.raises(ParameterError, match=f"'{spelling}' must be at least -1"):
        backend.generate("Hi", {spelling: -2})


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        ("the", "Hello from "),
        (["om th"], "Hello fr"),
        (["nowhere", "tiny test"], "Hello from the "),
        (["st mo", "tiny"], "Hello from the "),
        (["model.!"], MANY[""]),
        (["."], "Hello from the tiny test model"),
        ([], MANY[""]),
        (["Hello"], ""),
    ],
)
def test_ends_before_a_stop_string_even_over_tokens(backend: HuggingFaceBackend, stop: Any, text: str) -> None:
    whole = backend.completion("Hi", {"stop": stop})
    assert whole["choices"][0]["text"] == text
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert "".join(backend.generate_stream("Hi", {"stop": stop})) == text


def test_holds_back_only_what_may_begin_a_stop_string(backend: HuggingFaceBackend) -> None:
    pieces = list(backend.generate_stream("Hi", {"stop": ["the very end"]}))
    assert pieces == ["Hello", " from", " ", "the tiny", " tes", "t model."]


def test_a_character_split_over_tokens_comes_whole(load: Load) -> None:
    smile = "😀".encode()
    pieces = [b"Gr", "ü".encode() + b"n", b" \xf0\x9f", b"\x98\x80!", b" and", b" \xe4\xbd", b"\xa0."]
    assert smile in b"".join(pieces)
    backend = load("", pieces=pieces)
    assert list(backend.generate_stream("Hi")) == ["Gr", "ün", " 😀!", " and", " 你."]
    assert backend.generate("Hi") == "Grün 😀! and 你."


def test_broken_characters_are_shown_as_such(load: Load) -> None:
    broken = load("", pieces=[b"ok", b"\xf0\x9f"])
    assert broken.generate("Hi") == "ok\ufffd"
    late = load("", pieces=[*(bytes((0xF0, 0x9F, 0x80 + number)) for number in range(7)), b"\xf0\x9f", b"\x98\x80 ok"])
    assert late.generate("Hi") == "\ufffd" * 7 + "😀 ok"
    never = load("", pieces=[bytes((0x80 + number, 0xBF)) for number in range(20)], endless=True)
    pieces = list(never.generate_stream("Hi", {"max_tokens": 20}))
    assert len(pieces) >= 2
    assert set("".join(pieces)) == {"\ufffd"}


def test_special_tokens_are_no_text(load: Load) -> None:
    backend = load("one two three", template=None)
    tokenizer = backend._engine.model.tokenizer
    assert tokenizer.decode([tokenizer.bos_token_id]) == "<|bos|>"
    network = backend._engine.model.network
    bos, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    head = network.lm_head.weight.data
    head[[bos, end]] = head[[end, bos]]  # says the mark of a beginning in place of the end
    assert backend.generate("Hi", {"max_tokens": 4}) == "one two three"


# ---- OpenAI's shapes


def test_completion_with_usage_and_reason(backend: HuggingFaceBackend) -> None:
    whole = backend.completion("Hi")
    assert whole["object"] == "text_completion"
    assert whole["choices"][0]["text"] == MANY[""]
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert (whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"]) == (2, 7)  # with the end token
    cut = backend.completion("Hi", {"max_tokens": 2})
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 2
    *chunks, last = backend.completion_stream("Hi", {"max_tokens": 2})
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["Hello", " from"]
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["usage"] == cut["usage"]


def test_chat_follows_the_models_template(backend: HuggingFaceBackend) -> None:
    assert backend.chat(HI) == MANY["\n"]
    assert list(backend.chat_stream(HI)) == ["This", " is", " my", " answer"]
    whole = backend.chat_completion([{"role": "system", "content": "Be short."}, *HI])
    prompt = "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": MANY["\n"]}
    assert whole["usage"]["prompt_tokens"] == len(backend._engine.encode(prompt))
    first, *_, last = backend.chat_completion_stream(HI)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "This"}
    assert last["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert last["usage"]["completion_tokens"] == 5


def test_a_list_of_text_parts_is_a_message_too(backend: HuggingFaceBackend) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    lengths = {backend.chat_completion(messages)["usage"]["prompt_tokens"] for messages in (HI, parts)}
    assert len(lengths) == 1


def test_without_a_template_messages_become_a_script(load: Load) -> None:
    backend = load({"": "plain words here", ":": "said by a script"}, template=None)
    assert backend.chat(HI) == "said by a script"
    with pytest.raises(UnsupportedError, match="no chat template"):
        backend.chat(HI, {"tools": [WEATHER]})


def test_a_template_that_refuses_is_the_callers_mistake(load: Load) -> None:
    backend = load(template="{{ raise_exception('roles must alternate') }}")
    with pytest.raises(ParameterError, match="roles must alternate"):
        backend.chat(HI)


def test_a_picture_is_refused_not_left_out(backend: HuggingFaceBackend) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(UnsupportedError, match="takes no images"):
        backend.chat([{"role": "user", "content": [{"type": "text", "text": "Hi"}, picture]}])


@pytest.mark.parametrize("messages", ["Hi", [], [{"content": "Hi"}], ["Hi"], [{"role": "user", "content": 5}], None])
def test_what_is_no_list_of_messages_is_refused(backend: HuggingFaceBackend, messages: Any) -> None:
    with pytest.raises(ParameterError):
        backend.chat_stream(messages)


# ---- tool calls


def test_a_tool_call_is_parsed_whole_and_streamed(load: Load) -> None:
    backend = load(f"Let me look. {CALL}")
    wish = {"tools": [WEATHER]}
    choice = backend.chat_completion(HI, wish)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Let me look. "
    (call,) = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["id"].startswith("call-")
    assert call["function"] == {"name": "weather", "arguments": '{"city": "Paris"}'}

    *chunks, last = backend.chat_completion_stream(HI, wish)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content", "") for delta in deltas) == "Let me look. "
    (streamed,) = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert streamed["index"] == 0
    assert streamed["function"] == call["function"]
    assert last["choices"][0]["finish_reason"] == "tool_calls"


def test_the_model_is_told_of_the_tools(backend: HuggingFaceBackend) -> None:
    plain = backend.chat_completion(HI)["usage"]["prompt_tokens"]
    assert backend.chat_completion(HI, {"tools": [WEATHER]})["usage"]["prompt_tokens"] > plain
    assert backend.chat_completion(HI, {"tools": [WEATHER], "tool_choice": "none"})["usage"]["prompt_tokens"] == plain


def test_a_conversation_with_a_tools_answer(backend: HuggingFaceBackend) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    messages = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]
    assert backend.chat(messages, {"tools": [WEATHER]}) == MANY["\n"]


def test_what_is_no_call_stays_text(load: Load) -> None:
    backend = load("<tool_call>\nnot json at all</tool_call>")
    choice = backend.chat_completion(HI, {"tools": [WEATHER]})["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "<tool_call>\nnot json at all</tool_call>"}
    assert choice["finish_reason"] == "stop"


def test_without_tools_marks_are_text(load: Load) -> None:
    assert load(CALL).chat_completion(HI)["choices"][0]["message"]["content"] == CALL


# ---- parameters


def test_a_seed_gives_the_same_answer_again(wide: HuggingFaceBackend) -> None:
    wish = {"temperature": 1.5, "max_tokens": 24, "seed": 7}
    first = wide.generate("Hi", wish)
    assert wide.generate("Hi", wish) == first
    assert wide.generate("Hi", {**wish, "seed": 8}) != first
    assert wide.generate("Hi", {**wish, "do_sample": False}) == wide.generate("Hi", {"max_tokens": 24})


def test_sampling_leaves_the_global_generator_alone(wide: HuggingFaceBackend) -> None:
    import torch

    torch.manual_seed(1)
    expected = torch.rand(1).item()
    torch.manual_seed(1)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda seed: wide.generate("Hi", {"temperature": 1.0, "max_tokens": 8, "seed": seed}), range(3)))
    assert torch.rand(1).item() == expected


@pytest.mark.parametrize(
    "wish", [{"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}, {"temperature": 1e-3}, {"typical_p": 1e-6}]
)
def test_the_narrowest_sampling_takes_the_likeliest_token(wide: HuggingFaceBackend, wish: dict[str, float]) -> None:
    if "typical_p" in wish:
        assert len(wide.generate("Hi", {**wish, "max_tokens": 8, "seed": 1})) == 8
    else:
        assert wide.generate("Hi", {**wish, "max_tokens": 8}) == wide.generate("Hi", {"max_tokens": 8})


@pytest.mark.parametrize(
    "wish",
    [
        {"presence_penalty": 100.0},
        {"frequency_penalty": 50.0},
        {"no_repeat_ngram_size": 1},
    ],
)
def test_penalties_keep_from_saying_it_again(load: Load, wish: dict[str, float]) -> None:
    backend = load("ping pong", endless=True)
    assert backend.generate("Hi", {"max_tokens": 4}) == "ping pongping pong"
    assert not backend.generate("Hi", {"max_tokens": 4, **wish}).startswith("ping pongping pong")


def test_a_repeat_penalty_makes_for_other_words(wide: HuggingFaceBackend) -> None:
    plain = wide.generate("Hi", {"max_tokens": 32})
    penalized = wide.generate("Hi", {"max_tokens": 32, "repetition_penalty": 3.0})
    assert len(set(penalized)) > len(set(plain))
    assert wide.generate("Hi", {"max_tokens": 32, "repeat_penalty": 3.0, "repeat_last_n": 0}) == plain
    last = wide.generate("Hi", {"max_tokens": 32, "repeat_penalty": 3.0, "repeat_last_n": 1})
    assert last not in {plain, penalized}


def test_an_answer_may_have_to_be_longer(backend: HuggingFaceBackend) -> None:
    wish = {"min_new_tokens": 9, "max_tokens": 9}
    assert backend.completion("Hi", wish)["usage"]["completion_tokens"] == 9


def test_a_search_with_beams_has_no_stream(backend: HuggingFaceBackend) -> None:
    assert backend.generate("A", {"num_beams": 3}) == MANY["A"]
    with pytest.raises(UnsupportedError, match="no stream"):
        backend.generate_stream("A", {"num_beams": 3})
    with pytest.raises(UnsupportedError, match="does not sample"):
        backend.generate("A", {"num_beams": 3, "temperature": 1.0})


@pytest.mark.parametrize(
    ("wish", "error", "says"),
    [
        ({"temperatur": 1}, ParameterError, "Did you mean 'temperature'"),
        ({"temperature": "hot"}, ParameterError, "must be a number"),
        ({"temperature": -1}, ParameterError, "between 0 and 100"),
        ({"top_p": 1.5}, ParameterError, "between 0 and 1"),
        ({"max_tokens": 5, "max_new_tokens": 5}, ParameterError, "the same parameter"),
        ({"repeat_penalty": 0}, ParameterError, "more than 0"),
        ({"stop": 5}, ParameterError, "list of texts"),
        ({"seed": 1.5}, ParameterError, "whole number"),
        ({"max_tokens": 0}, ParameterError, "at least 1"),
        ({"tools": [WEATHER]}, UnsupportedError, "belong to a chat"),
        ({"tools": ["weather"]}, ParameterError, "Each tool must be"),
        ([], ParameterError, "must be a mapping"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(
    backend: HuggingFaceBackend, wish: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        backend.generate_stream("Hi", wish)


def test_a_null_parameter_is_none_at_all(backend: HuggingFaceBackend) -> None:
    assert backend.generate("Hi", {"stop": None, "temperature": None, "json_schema": None}) == MANY[""]


@pytest.mark.parametrize("prompt", [None, 5, b"Hi", ["Hi"]])
def test_a_prompt_is_text(backend: HuggingFaceBackend, prompt: Any) -> None:
    with pytest.raises(ParameterError, match="must be text"):
        backend.generate(prompt)


def test_an_empty_prompt_is_refused(backend: HuggingFaceBackend) -> None:
    with pytest.raises(ParameterError, match="empty"):
        backend.generate("")


# ---- the context


def test_a_prompt_longer_than_the_context_is_refused(load: Load) -> None:
    backend = load(context=32)
    with pytest.raises(ContextLengthError, match=r"40 tokens.*32") as caught:
        backend.generate_stream("x" * 40)
    assert (caught.value.prompt_tokens, caught.value.context_tokens) == (40, 32)
    with pytest.raises(ContextLengthError):
        backend.generate("x" * 32)
    assert backend.completion("x" * 30)["choices"][0] == {
        "index": 0,
        "text": "Hello from",
        "logprobs": None,
        "finish_reason": "length",
    }


def test_the_context_can_be_made_shorter(load: Load) -> None:
    backend = load(parameters={"n_ctx": 16})
    assert backend.info().details["context_tokens"] == 16
    with pytest.raises(ContextLengthError):
        backend.generate("x" * 16)


def test_a_beginning_read_before_is_not_read_again(tmp_path: Path) -> None:
    write_random(tmp_path, dim=64, layers=2, heads=4, context=512)
    warm, cold = HuggingFaceBackend(), HuggingFaceBackend()
    warm.load_model(tmp_path, ONE_THREAD)
    text = "A long text about which several questions are asked. " * 4
    wish = {"max_tokens": 12}
    first = warm.completion(text + "Who?", wish)
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    written = first["choices"][0]["text"]
    for prompt, cached in (
        (text + "Who?" + written + "Why?", len(text) + 4 + 11),  # the last token was written, but never read
        (text + "When?", len(text) + 2),
        (text + "When?", len(text) + 4),
        ("Something else", 0),
    ):
        answer = warm.completion(prompt, wish)
        cold.load_model(tmp_path, ONE_THREAD)
        assert answer["choices"] == cold.completion(prompt, wish)["choices"]
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == cached


# ---- cancelling, and many at once


def test_a_closed_stream_ends_and_the_model_is_free(load: Load) -> None:
    backend = load("over and over again ", endless=True)
    stream = backend.generate_stream("Hi")
    assert next(stream) == "over"
    stream.close()  # type: ignore[attr-defined]
    assert not backend._engine._alone.locked()
    assert backend.generate("Hi", {"max_tokens": 4}) == "over and over again "


def test_a_stream_that_is_forgotten_lets_go(load: Load) -> None:
    backend = load(endless=True)
    stream = backend.generate_stream("Hi")
    next(stream)
    del stream
    gc.collect()
    assert not backend._engine._alone.locked()


def test_answers_at_once_are_exact(backend: HuggingFaceBackend) -> None:
    prompts = ["A", "B", "C", "x"] * 6
    wishes = [{"temperature": 0}, {"temperature": 0.01, "seed": 3}, {"repeat_penalty": 1.01}]

    def ask(number: int) -> str:
        return "".join(backend.generate_stream(prompts[number], wishes[number % 3]))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(len(prompts))))
    assert answers == [MANY.get(prompt, MANY[""]) for prompt in prompts]
    assert backend._engine._batch is not None


def test_a_seed_holds_beside_others_too(wide: HuggingFaceBackend) -> None:
    wish = {"temperature": 0.8, "max_tokens": 16}
    alone = [wide.generate("Hi", {**wish, "seed": seed}) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: wide.generate("Hi", {**wish, "seed": seed}), range(4)))
    assert together == alone


def test_the_first_answer_joins_the_others(wide: HuggingFaceBackend) -> None:
    wish = {"max_tokens": 30, "temperature": 1.0}
    expected = [wide.generate("Hi", {**wish, "seed": seed}) for seed in (1, 2)]
    first, second = (wide.generate_stream("Hi", {**wish, "seed": seed}) for seed in (1, 2))
    texts = [next(first), next(second)]
    assert wide._engine._alone.locked()
    texts[0] += next(first) + next(first)
    assert not wide._engine._alone.locked()
    assert [text + "".join(rest) for text, rest in zip(texts, (first, second), strict=True)] == expected


def test_answers_alone_and_in_a_batch_leave_each_other_alone(wide: HuggingFaceBackend) -> None:
    """The library writes into the configuration that its passes read: shared, it made half of these answers wrong."""
    wish = {"max_tokens": 6}
    expected = wide.generate("Hi", wish)
    with ThreadPoolExecutor(6) as pool:
        for _ in range(30):
            assert list(pool.map(lambda _: wide.generate("Hi", wish), range(8))) == [expected] * 8
    weights = {parameter.data_ptr() for parameter in wide._engine.model.network.parameters()}
    network = wide._engine._batch._manager.model
    assert {parameter.data_ptr() for parameter in network.parameters()} == weights  # no second copy in memory
    assert network.config is not wide._engine.model.network.config


def test_a_batched_stream_that_is_closed_makes_room(load: Load) -> None:
    backend = load({"": "on and on it goes ", "A": "Alpha first"}, parameters={"max_batch": 2}, endless=True)
    running = [backend.generate_stream("x") for _ in range(5)]  # one alone, two in the batch, two that wait
    for stream in running[:3]:
        assert next(stream) == "on"
    for stream in running:
        stream.close()  # type: ignore[attr-defined]
    streams = [backend.generate_stream("A", {"max_tokens": 2}) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map("".join, streams)) == ["Alpha first"] * 4


def test_what_is_too_long_for_the_batch_goes_on_alone(load: Load) -> None:
    backend = load(endless=True, parameters={"batch_tokens": 64, "max_batch": 2}, context=512)
    first = backend.generate_stream("x")
    next(first)  # holds the loop, so that what follows goes to the batch
    expected = (MANY["A"] * 60).split("Alpha")
    text = backend.generate("A", {"max_tokens": 200})
    assert text == ("Alpha" + expected[1]) * 50
    assert backend.completion("A" * 100, {"max_tokens": 4})["choices"][0]["text"] == MANY["A"]
    first.close()  # type: ignore[attr-defined]


def test_a_full_cache_delays_but_changes_nothing(load: Load) -> None:
    backend = load(endless=True, parameters={"batch_tokens": 96, "max_batch": 4})
    expected = MANY["A"] * 12 + "Alpha comes"
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: backend.generate("A", {"max_tokens": 50}), range(4)))
    assert answers == [expected] * 4


def test_without_a_batch_threads_share_the_model(load: Load) -> None:
    backend = load(parameters={"max_batch": 1})
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(backend.generate, "ABC")) == [MANY["A"], MANY["B"], MANY["C"]]
    assert backend._engine._batch is None
    assert load(parameters={"attn_implementation": "eager"}).info().details["max_batch"] == 1


def test_unloading_ends_what_runs(load: Load) -> None:
    backend = load(endless=True)
    alone, batched = backend.generate_stream("x"), backend.generate_stream("x")
    next(alone)
    next(batched)
    backend.unload()
    for stream in (alone, batched):
        with pytest.raises(GenerationError):
            list(stream)


def test_a_failure_in_the_loop_reaches_who_waits(load: Load) -> None:
    backend = load(endless=True)
    alone, batched = backend.generate_stream("x"), backend.generate_stream("x")
    next(alone)
    next(batched)

    def fail(*arguments: Any, **others: Any) -> None:
        raise RuntimeError("the device is gone")

    for network in (backend._engine.model.network, backend._engine._batch._manager.model):
        network.model.forward = fail
    for stream in (alone, batched):
        with pytest.raises(GenerationError, match="the device is gone"):
            list(stream)
    backend.unload()


def test_unloading_frees_the_model(load: Load) -> None:
    backend = load()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(backend.generate, "AB"))
    network = weakref.ref(backend._engine.model.network)
    threads = threading.active_count()
    backend.unload()
    gc.collect()
    assert network() is None
    assert threading.active_count() <= threads
    backend.unload()
    assert not backend.is_model_loaded()


async def test_without_blocking_the_event_loop(backend: HuggingFaceBackend) -> None:
    assert await backend.agenerate("A") == MANY["A"]
    assert [piece async for piece in backend.achat_stream(HI)] == ["This", " is", " my", " answer"]


# ---- vectors


def test_vectors_are_of_length_one_unless_told(backend: HuggingFaceBackend) -> None:
    first, again, other = backend.embed(["one", "one", "another"])
    assert first == again != other
    assert sum(number * number for number in first) == pytest.approx(1.0, abs=1e-4)
    (raw,) = backend.embed(["one"], {"normalize": False})
    assert sum(number * number for number in raw) != pytest.approx(1.0, abs=1e-2)
    assert backend.embed([]) == []


async def test_cancelled_vectors_are_computed_no_further(backend: HuggingFaceBackend) -> None:
    engine = backend._engine
    embed, asked, begun, go_on = engine.embed, [], threading.Event(), threading.Event()

    def waiting(text: str, *, normalize: bool) -> list[float]:
        asked.append(text)
        begun.set()
        assert go_on.wait(10)
        return embed(text, normalize=normalize)

    engine.embed = waiting
    try:
        task = asyncio.create_task(backend.aembed(["x"] * 50))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        assert len(await backend.aembed(["y"])) == 1
        assert asked == ["x", "y"]
    finally:
        del engine.embed


def test_whether_a_model_was_made_for_conversations(load: Load) -> None:
    assert not HuggingFaceBackend().has_chat_template
    for template, has in ((TEMPLATE, True), (None, False)):
        backend = load(template=template)
        assert backend.has_chat_template is backend.info().details["has_chat_template"] is has


@pytest.mark.parametrize("texts", ["one", [1], None])
def test_what_is_no_list_of_texts_has_no_vectors(backend: HuggingFaceBackend, texts: Any) -> None:
    with pytest.raises(ParameterError, match="list of texts"):
        backend.embed(texts)


def test_a_text_longer_than_the_context_has_no_vector(load: Load) -> None:
    with pytest.raises(ContextLengthError):
        load(context=16).embed(["x" * 17])


def test_an_encoder_makes_vectors_and_does_not_write(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BertConfig, BertModel

    write_model(tmp_path)
    size = len(AutoTokenizer.from_pretrained(tmp_path))
    (tmp_path / "generation_config.json").unlink()
    config = BertConfig(
        vocab_size=size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    backend = HuggingFaceBackend()
    backend.load_model(tmp_path, ONE_THREAD)
    (vector,) = backend.embed(["one"])
    assert len(vector) == 16
    with pytest.raises(UnsupportedError, match="does not write"):
        backend.generate("Hi")
