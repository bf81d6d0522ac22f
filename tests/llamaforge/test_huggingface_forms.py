"""The huggingface backend holds answers to a form: a JSON schema, a grammar, a call of a tool."""

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from llamaforge.backends.huggingface import HuggingFaceBackend
from llamaforge.exceptions import GenerationError, MissingExtraError, ParameterError, UnsupportedError
from tests.support.tiny_transformers import write_model, write_random

pytest.importorskip("transformers")
pytestmark = pytest.mark.xdist_group("transformers")

ONE_THREAD = {"device": "cpu", "n_threads": 1}
HI = [{"role": "user", "content": "Hi"}]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 6}, "age": {"type": "integer", "minimum": 3, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


CITY = tool("weather", city={"type": "string", "maxLength": 5})
SUM = tool("add", one={"type": "integer", "minimum": 0, "maximum": 9}, two={"enum": [1, 2]})

Load = Callable[..., HuggingFaceBackend]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    def make(says: Any = "Hello from the tiny test model.", **others: Any) -> HuggingFaceBackend:
        backend = HuggingFaceBackend()
        backend.load_model(write_model(tmp_path_factory.mktemp("model"), says=says, **others), ONE_THREAD)
        return backend

    return make


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HuggingFaceBackend]:
    """A random model, which would write characters without end."""
    loaded = HuggingFaceBackend()
    folder = write_random(tmp_path_factory.mktemp("wide"), dim=64, layers=2, heads=4, context=2048)
    loaded.load_model(folder, ONE_THREAD)
    yield loaded
    loaded.unload()


def check_person(text: str) -> None:
    person = json.loads(text)
    assert list(person) == ["name", "age"]
    assert isinstance(person["name"], str)
    assert len(person["name"]) <= 6
    assert type(person["age"]) is int
    assert 3 <= person["age"] <= 99


# ---- schemas


@pytest.mark.parametrize("wish", [{}, {"temperature": 1.0, "seed": 1}, {"temperature": 3.0, "seed": 2, "top_k": 3}])
def test_an_answer_is_held_to_a_schema_in_every_way(wide: HuggingFaceBackend, wish: dict[str, Any]) -> None:
    wish = {**wish, "json_schema": PERSON}
    whole = wide.completion("Hi", wish)["choices"][0]
    check_person(whole["text"])
    assert whole["finish_reason"] == "stop"
    assert "".join(wide.generate_stream("Hi", wish)) == whole["text"]
    chat = wide.chat_completion(HI, wish)["choices"][0]
    check_person(chat["message"]["content"])
    assert chat["finish_reason"] == "stop"
    assert "".join(wide.chat_stream(HI, wish)) == chat["message"]["content"]


def test_a_format_of_openai_is_a_schema(wide: HuggingFaceBackend) -> None:
    wish = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    check_person(wide.chat(HI, {"response_format": wish}))
    some = wide.chat(HI, {"response_format": {"type": "json_object"}, "max_tokens": 40})
    assert some.startswith("{")


@pytest.mark.parametrize(
    ("schema", "good"),
    [
        ({"enum": ["yes", "no", 3]}, {"yes", "no", 3}),
        ({"type": "integer", "multipleOf": 7, "minimum": 10, "maximum": 30}, {14, 21, 28}),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1, "multipleOf": 0.5}, {0.5, 1}),
        ({"type": "string", "pattern": "^a\\d$"}, {f"a{digit}" for digit in range(10)}),
        ({"anyOf": [{"const": None}, {"type": "boolean"}]}, {None, True, False}),
        ({"$ref": "#/$defs/one", "$defs": {"one": {"const": 1}}}, {1}),
    ],
)
def test_keywords_are_held(wide: HuggingFaceBackend, schema: dict[str, Any], good: set[Any]) -> None:
    for seed in range(4):
        answer = wide.generate("Hi", {"json_schema": schema, "temperature": 2.0, "seed": seed, "max_tokens": 30})
        assert json.loads(answer) in good


def test_what_a_model_would_say_is_kept_where_the_schema_allows_it(load: Load) -> None:
    backend = load('"Hello there"')
    assert backend.generate("Hi", {"json_schema": {"type": "string"}}) == '"Hello there"'
    assert backend.generate("Hi", {"json_schema": {"type": "string", "maxLength": 3}}) != '"Hello there"'


def test_beside_others_each_has_its_own_form(wide: HuggingFaceBackend) -> None:
    plain = {"max_tokens": 24}
    expected = wide.generate("Hi", plain)
    wishes = [
        {"json_schema": PERSON, "temperature": 1.0, "seed": 1},
        plain,
        {"grammar": 'root ::= "yes" | "no"'},
        {"json_schema": {"type": "boolean"}},
    ] * 3
    alone = [wide.generate("Hi", wish) for wish in wishes]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda wish: wide.generate("Hi", wish), wishes))
    assert together == alone
    assert wide._engine._batch is not None
    for number in range(0, 12, 4):
        check_person(together[number])
        assert together[number + 1] == expected
        assert together[number + 2] in {"yes", "no"}
        assert together[number + 3] in {"true", "false"}


def test_the_form_wins_over_penalties(wide: HuggingFaceBackend) -> None:
    wish = {"no_repeat_ngram_size": 1, "min_new_tokens": 60, "presence_penalty": 100.0, "repeat_penalty": 9.0}
    check_person(wide.generate("Hi", {**wish, "json_schema": PERSON}))


def test_an_answer_that_is_cut_says_so(wide: HuggingFaceBackend) -> None:
    choice = wide.completion("Hi", {"json_schema": PERSON, "max_tokens": 3})["choices"][0]
    assert choice["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("wish", "error", "says"),
    [
        ({"json_schema": {"not": {}}}, ParameterError, "'not' in a JSON schema"),
        ({"json_schema": {"type": "array", "uniqueItems": True}}, ParameterError, "uniqueItems"),
        ({"json_schema": {"type": "string", "format": "zzz"}}, ParameterError, "format: zzz"),
        ({"json_schema": {"type": "string", "pattern": "(?=a)b"}}, ParameterError, "look-around"),
        ({"json_schema": {"$ref": "http://example.com/schema"}}, ParameterError, "can't be held"),
        ({"json_schema": {}, "grammar": "root ::= x"}, ParameterError, "give one of them"),
        ({"grammar": "no grammar"}, ParameterError, "The grammar can't be read: Expected ::="),
        ({"grammar": "root ::= other"}, ParameterError, "Rule 'other' not found"),
        ({"grammar": "root ::= " + "(" * 10_000}, ParameterError, "The grammar can't be read"),
        ({"grammar": "%llguidance {}\nstart: other"}, ParameterError, 'unknown name: "other"'),
        ({"json_schema": PERSON, "num_beams": 2}, UnsupportedError, "num_beams can't be held"),
    ],
)
def test_what_cant_be_held_is_refused_before_anything_runs(
    wide: HuggingFaceBackend, wish: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        wide.generate_stream("Hi", wish)
    assert len(str(caught.value)) < 700


def test_a_model_that_cant_end_an_answer_is_not_held(load: Load) -> None:
    backend = load()
    model = backend._engine.model
    object.__setattr__(model, "ends", frozenset({999_999}))
    with pytest.raises(UnsupportedError, match="no token that ends an answer"):
        backend.generate("Hi", {"json_schema": PERSON})


def test_without_llguidance_the_error_says_what_to_install(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load()
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtraError, match=r"Install it with: .*transformers"):
        backend.generate("Hi", {"grammar": 'root ::= "yes"'})
    assert backend.generate("Hi", {"max_tokens": 1}) == "Hello"


def test_logits_beyond_the_vocabulary_are_never_chosen(wide: HuggingFaceBackend) -> None:
    import torch

    from llamaforge.backends.huggingface.options import Form

    mask = wide._engine.mask(Form(grammar='root ::= "a" | "b"'))
    tokenizer = wide._engine.model.bare_tokenizer
    allowed = mask.allowed(torch.zeros(tokenizer.get_vocab_size() + 77))
    assert {tokenizer.id_to_token(number) for number in allowed.nonzero()[:, 0].tolist()} == {"a", "b"}


def test_an_answer_that_can_be_held_no_longer_ends_and_the_others_go_on(wide: HuggingFaceBackend) -> None:
    engine = wide._engine
    make = engine.mask

    class Breaking:
        def __init__(self, mask: Any) -> None:
            self.mask, self.taken = mask, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.mask, name)

        def take(self, token: int) -> None:
            self.taken += 1
            self.mask.take(token if self.taken < 3 else 0)

    engine.mask = lambda form: Breaking(make(form))
    expected = wide.generate("Hi", {"max_tokens": 40})
    try:
        with pytest.raises(GenerationError, match="could not be held"):
            wide.generate("Hi", {"json_schema": PERSON})
        first = wide.generate_stream("Hi", {"max_tokens": 40})
        head = next(first)  # alone, so that the others share a batch
        with ThreadPoolExecutor(2) as pool:
            good = pool.submit(wide.generate, "Hi", {"max_tokens": 40})
            bad = pool.submit(wide.generate, "Hi", {"json_schema": PERSON})
            with pytest.raises(GenerationError, match="could not be held"):
                bad.result()
            assert good.result() == expected
        assert head + "".join(first) == expected
    finally:
        del engine.mask


# ---- grammars


def test_a_grammar_of_llama_cpp_is_held(wide: HuggingFaceBackend) -> None:
    grammar = 'root ::= (digit digit "-")? word # a comment\ndigit ::= [0-9]\nword ::= "yes" | "no"\n'
    for seed in range(4):
        answer = wide.generate("Hi", {"grammar": grammar, "temperature": 2.0, "seed": seed})
        number, _, word = answer.rpartition("-")
        assert word in {"yes", "no"}
        assert number == "" or (number.isdigit() and len(number) == 2)
    assert wide.chat(HI, {"grammar": '%llguidance {}\nstart: "yes"'}) == "yes"


# ---- calls of tools


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_tool_can_be_forced(wide: HuggingFaceBackend, choice: Any) -> None:
    wish = {"tools": [CITY, SUM], "tool_choice": choice, "temperature": 1.0, "seed": 3}
    answer = wide.chat_completion(HI, wish)["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"]["content"] is None
    (call,) = answer["message"]["tool_calls"]
    arguments = json.loads(call["function"]["arguments"])
    if choice == "required":
        assert call["function"]["name"] in {"weather", "add"}
    else:
        assert call["function"]["name"] == "add"
        assert (0 <= arguments["one"] <= 9, arguments["two"] in {1, 2}) == (True, True)
    deltas = [chunk["choices"][0]["delta"] for chunk in wide.chat_completion_stream(HI, wish)]
    (streamed,) = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert streamed["function"] == call["function"]


def test_a_form_and_tools_leave_the_choice_to_the_model(load: Load) -> None:
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    for says, kind in ((call, "tool_calls"), ('{"name": "Ann", "age": 42}', "stop")):
        answer = load(says).chat_completion(HI, {"tools": [CITY], "json_schema": PERSON})["choices"][0]
        assert answer["finish_reason"] == kind
        if kind == "stop":
            check_person(answer["message"]["content"])
        else:
            (called,) = answer["message"]["tool_calls"]
            assert len(json.loads(called["function"]["arguments"])["city"]) <= 5


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"tools": [CITY], "grammar": 'root ::= "a"'}, "give one of them"),
        (
            {"tools": [tool("bad", x={"not": {}})], "tool_choice": "required"},
            "A call of the tool 'bad' can't be forced",
        ),
        ({"tools": [CITY], "tool_choice": {"type": "function", "function": {"name": "none"}}}, "not among the tools"),
        ({"tool_choice": "required"}, "'tools' has none"),
    ],
)
def test_calls_that_cant_be_forced_are_refused(wide: HuggingFaceBackend, wish: dict[str, Any], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        wide.chat_stream(HI, wish)


def test_tools_that_are_only_offered_need_not_be_held(load: Load) -> None:
    answer = load().chat(HI, {"tools": [tool("odd", x={"not": {}})]})
    assert answer == "Hello from the tiny test model."
