"""The built-in listener as a backend: what it says, its streams, its limits."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaforge import ModelNotFoundError, ModelNotLoadedError, ParameterError, threads
from llamaforge.backends.eliza import ElizaBackend
from tests.support.eliza import NAME, OPENING, SAD, SAD_WORDS
from tests.support.turns import spent


def user(text):
    return {"role": "user", "content": text}


def said(*texts):
    return [user(text) for text in texts]


@pytest.fixture
def eliza():
    backend = ElizaBackend()
    backend.load_model("eliza")
    return backend


CONVERSATION = [
    ("Hello!", "Hello. What would you like to talk about?"),
    ("I feel a little tired today.", "When did this feeling first turn up?"),
    ("My boss wants everything at once, and I can't say no.", "What happens when you try?"),
    ("He says I'm lonely.", "That sounds hard. What weighs on you most?"),
    ("I think you are right.", "So you hold that I am right. What would make you doubt it?"),
    ("I need my sister to call me because I miss her.", "What stands in the way?"),
    ("hm", "Before, there was this: your boss wants everything at once. Does a thread lead from there to here?"),
    ("You never listen to me.", "How can you tell that I never listen to you?"),
    ("What do you do?", "What would be a good answer to that?"),
    ("Yes.", "Good. Where does that take us?"),
    ("yes", "And what lies behind that yes?"),
    ("Bye", "Goodbye, and thank you for the company."),
]  # fmt: skip


def test_a_conversation(eliza):
    messages, answers = [], []
    for text, _ in CONVERSATION:
        messages.append(user(text))
        answers.append(eliza.chat(messages))
        messages.append({"role": "assistant", "content": answers[-1]})
    assert answers[0] == f"{CONVERSATION[0][1]}\n\n{NAME}"
    assert answers[1:] == [answer for _, answer in CONVERSATION[1:]]


def first(eliza, text, parameters=None):
    """The answer to the first thing that is said, without what it says of itself."""
    return eliza.chat(said(text), parameters).removesuffix(NAME).rstrip()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("I NEED HELP", "What would help change for you?"),
        ("I need Anton and the BBC", "What would Anton and the BBC change for you?"),
        ("i think he’s late when i'm early", "So you hold that he's late when you're early. What would make you doubt it?"),
        ("I want 3.14 apples", "What would 3.14 apples change for you?"),
        ("I need a **very** <b>bold</b> plan", "What would a very b bold b plan change for you?"),
        ("My name is Anton", "Pleased to meet you, Anton. What brings you here?"),
        ("Everybody hates me", 'Whose face do you see when you say "Everybody"?'),
    ],
)  # fmt: skip
def test_what_it_takes_up(eliza, text, answer):
    assert first(eliza, text) == answer


@pytest.mark.parametrize(
    "hidden", ["\ud800", "\x00", "\x1b", "\u202e", "\u200b", "\ufeff", "`", '"', "_", "*", "<", "[", "|"]
)
def test_what_could_break_or_hide_text_is_not_repeated(eliza, hidden):
    assert first(eliza, f"I need {hidden} help") == "What would help change for you?"
    assert eliza.chat(said(f"I need {hidden} help"), {"upper": True}).encode()


@pytest.mark.parametrize("text", ["मैं उदास हूँ", "我很难过。", "Мне грустно", "أنا حزين", "1 + 1"])
def test_what_is_no_english(eliza, text):
    assert first(eliza, text) == "I follow English only. Can you put it that way?"


@pytest.mark.parametrize(
    "messages",
    [[], [{"role": "system", "content": "Be brief."}], [{"role": "assistant", "content": OPENING}]],
)
def test_the_opening_line(eliza, messages):
    assert eliza.chat(messages) == OPENING
    assert eliza.chat(messages, {"upper": True}) == OPENING.upper()


@pytest.mark.parametrize("content", ["", "😀", "  \n ", None, [], [{"type": "image_url", "image_url": {"url": "x"}}]])
def test_saying_nothing_is_a_turn(eliza, content):
    assert eliza.chat([user(content)]).startswith("Take your time.")


def test_content_may_come_in_parts(eliza):
    parts = [{"type": "text", "text": "My mother"}, {"type": "image_url"}, {"type": "text", "text": "sings"}]
    assert eliza.chat([user(parts)]) == eliza.chat(said("My mother\nsings"))
    assert "your mother" in eliza.chat([user(parts)])


def test_only_what_the_person_says_counts(eliza):
    talk = said("My dog ran away here", "x", "x")
    others = [{"role": "assistant", "content": "my computer"}, {"role": "system", "content": "I am sad"}]
    mixed = [others[1], talk[0], others[0], talk[1], others[0], talk[2], others[0]]
    assert eliza.chat(mixed) == f"{eliza.chat(talk)}\n\n{NAME}"
    assert "your dog ran away here" in eliza.chat(talk)


@pytest.mark.parametrize("upper", [False, True])
def test_it_says_once_what_it_is(eliza, upper):
    asked = [user("How do I add people?"), {"role": "assistant", "content": "Under Settings. " * 100}]
    messages, answers = list(asked), []
    for text in ("I am sad", "yes", "no"):
        messages.append(user(text))
        answers.append(eliza.chat(messages, {"upper": upper}))
        messages.append({"role": "assistant", "content": answers[-1]})
    assert [NAME.lower() in answer.lower() for answer in answers] == [True, False, False]
    assert NAME not in eliza.chat(said("I am sad", "yes"))


def test_an_instance_keeps_nothing_between_calls(eliza):
    first = eliza.chat(said("My mother"))
    eliza.chat(said("My mother", "My father"))
    assert eliza.chat(said("My mother")) == first


def test_only_the_last_turns_count(eliza):
    talk = ["no", *["x"] * 99]
    assert eliza.chat(said(*talk, "no")) == "All right. What is it instead?"
    assert eliza.chat(said(*talk[:-1], "no")) == "What would have made it a yes?"


@pytest.mark.parametrize("text", ["x" * 10_000_000, "I am sad " * 1_000_000, "." * 1_000_000])
def test_a_huge_message_costs_no_more_than_a_long_one(eliza, text):
    messages = said(text)
    with spent() as cost:
        assert eliza.chat(messages)
    assert cost.seconds < 0.05


def test_the_longest_conversation_is_quick(eliza):
    messages = said(*["I am like my mother but you think, " * 20] * 5000)
    with spent() as cost:
        assert eliza.chat(messages)
    assert cost.seconds < 0.5


def test_words_come_one_by_one(eliza):
    assert list(eliza.chat_stream(said("I am sad"))) == SAD_WORDS
    assert list(eliza.generate_stream("I am sad")) == SAD_WORDS
    assert eliza.generate("I am sad") == "".join(SAD_WORDS) == SAD


async def test_words_come_one_by_one_without_a_thread(eliza, monkeypatch):
    monkeypatch.setattr(threads, "_threads", None)
    assert [chunk async for chunk in eliza.achat_stream(said("I am sad"))] == SAD_WORDS


def test_the_delay_is_slept_between_words(eliza, monkeypatch):
    naps = []
    monkeypatch.setattr(time, "sleep", naps.append)
    assert list(eliza.chat_stream(said("yes", "yes"), {"delay": 0.25})) == [
        "And ",
        "what ",
        "lies ",
        "behind ",
        "that ",
        "yes?",
    ]
    assert naps == [0.25] * 5


async def test_the_delay_is_awaited_between_words(eliza, monkeypatch):
    naps = []

    async def nap(seconds):
        naps.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", nap)
    stream = eliza.achat_stream(said("yes", "yes"), {"delay": 1})
    assert [chunk async for chunk in stream] == ["And ", "what ", "lies ", "behind ", "that ", "yes?"]
    assert naps == [1.0] * 5


async def test_a_stream_stops_when_it_is_left(eliza):
    stream = eliza.achat_stream(said("yes", "yes"), {"delay": 10})
    assert await anext(stream) == "And "
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


def test_parameters_of_the_model_are_defaults_of_the_call(eliza):
    eliza.load_model("eliza", {"upper": True})
    assert eliza.generate("I am sad") == SAD.upper()
    assert eliza.generate("I am sad", {"upper": False}) == SAD
    assert eliza.generate("I am sad", {"upper": None}) == SAD.upper()


def test_parameters_of_other_engines_are_ignored(eliza):
    assert eliza.generate("no", {"temperature": 2, "max_tokens": 1, "stop": ["no"]}) == eliza.generate("no")


@pytest.mark.parametrize(
    "parameters",
    [{"delay": value} for value in (-1, 10.5, float("nan"), float("inf"), "1", True, [])]
    + [{"upper": value} for value in (1, "yes", [])],
)
async def test_bad_parameters(eliza, parameters):
    with pytest.raises(ParameterError):
        eliza.load_model("eliza", parameters)
    with pytest.raises(ParameterError):
        eliza.chat([], parameters)
    with pytest.raises(ParameterError):
        eliza.chat_stream([], parameters)
    with pytest.raises(ParameterError):
        await anext(eliza.achat_stream([], parameters))
    assert eliza.is_model_loaded()


@pytest.mark.parametrize("messages", ["hello", None, {"role": "user"}, ["hello"], [None], [user(3)], [user({})]])
def test_bad_messages(eliza, messages):
    with pytest.raises(ParameterError):
        eliza.chat(messages)


@pytest.mark.parametrize("prompt", [None, 3, b"hello", []])
def test_bad_prompts(eliza, prompt):
    with pytest.raises(ParameterError):
        eliza.generate(prompt)


def test_a_blank_prompt_gets_the_opening_line(eliza):
    assert eliza.generate(" ") == OPENING


async def test_loading_and_unloading():
    backend = ElizaBackend()
    assert not backend.is_model_loaded()
    assert not backend.info().loaded
    with pytest.raises(RuntimeError, match="No model loaded"):
        backend.generate("hello")
    with pytest.raises(ModelNotLoadedError):
        backend.chat_stream([])
    with pytest.raises(ModelNotLoadedError):
        await anext(backend.achat_stream([]))
    with pytest.raises(ModelNotFoundError, match=r"gpt-2\.gguf"):
        backend.load_model("gpt-2.gguf")
    assert not backend.is_model_loaded()
    for name in ("eliza", "ELIZA", "doctor"):
        backend.load_model(name)
    assert backend.info().loaded
    assert "no language model" in backend.info().description
    backend.unload()
    assert not backend.is_model_loaded()


PHRASES = st.sampled_from(
    "i,my,mother,i'm,you're,are,am,was,were,like,dreamt,remember,can,why,don't,can't,yes,no,but,.,',-,computer,"
    "think,sad,happy,me,your,you,everyone,if,because,name,sorry,never,need,want,to,feel,what".split(",")
)
TEXTS = st.one_of(
    st.text(max_size=600),
    st.text(alphabet=st.characters(exclude_categories=()), max_size=40),
    st.lists(PHRASES, max_size=30).map(" ".join),
)
CONTENTS = st.one_of(
    TEXTS,
    st.none(),
    st.lists(st.one_of(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}), st.just({"type": "file"}))),
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "user", "user", "assistant", "system"]), "content": CONTENTS}
    ),
    max_size=8,
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(MESSAGES, st.booleans())
def test_whatever_is_said_there_is_one_answer(messages, upper):
    one, other = ElizaBackend(), ElizaBackend()
    for backend in (one, other):
        backend.load_model("eliza", {"upper": upper})
    answer = one.chat(messages)
    assert answer.strip()
    answer.encode()
    assert other.chat(messages) == answer
    assert one.chat(messages) == answer
    assert "".join(one.chat_stream(messages)) == answer
    if not upper:
        assert answer[-1] in "?."
