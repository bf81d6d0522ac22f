"""DOCTOR as a backend: the conversation of the paper, its prose, its streams, its limits."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaforge import ModelNotFoundError, ModelNotLoadedError, ParameterError, threads
from llamaforge.backends.eliza import ElizaBackend

# The conversation in J. Weizenbaum's paper, Communications of the ACM 9(1), January 1966, pp. 36-37.
PAPER = [
    ("Men are all alike.", "IN WHAT WAY"),
    ("They're always bugging us about something or other.", "CAN YOU THINK OF A SPECIFIC EXAMPLE"),
    ("Well, my boyfriend made me come here.", "YOUR BOYFRIEND MADE YOU COME HERE"),
    ("He says I'm depressed much of the time.", "I AM SORRY TO HEAR YOU ARE DEPRESSED"),
    ("It's true. I am unhappy.", "DO YOU THINK COMING HERE WILL HELP YOU NOT TO BE UNHAPPY"),
    ("I need some help, that much seems certain.", "WHAT WOULD IT MEAN TO YOU IF YOU GOT SOME HELP"),
    ("Perhaps I could learn to get along with my mother.", "TELL ME MORE ABOUT YOUR FAMILY"),
    ("My mother takes care of me.", "WHO ELSE IN YOUR FAMILY TAKES CARE OF YOU"),
    ("My father.", "YOUR FATHER"),
    ("You are like my father in some ways.", "WHAT RESEMBLANCE DO YOU SEE"),
    (
        "You are not very aggressive but I think you don't want me to notice that.",
        "WHAT MAKES YOU THINK I AM NOT VERY AGGRESSIVE",
    ),
    ("You don't argue with me.", "WHY DO YOU THINK I DON'T ARGUE WITH YOU"),
    ("You are afraid of me.", "DOES IT PLEASE YOU TO BELIEVE I AM AFRAID OF YOU"),
    ("My father is afraid of everybody.", "WHAT ELSE COMES TO MIND WHEN YOU THINK OF YOUR FATHER"),
    (
        "Bullies.",
        "DOES THAT HAVE ANYTHING TO DO WITH THE FACT THAT YOUR BOYFRIEND MADE YOU COME HERE",
    ),
]
GREETING = "How do you do. Please tell me your problem."


def user(text):
    return {"role": "user", "content": text}


def said(*texts):
    return [user(text) for text in texts]


@pytest.fixture
def eliza():
    backend = ElizaBackend()
    backend.load_model("doctor")
    return backend


def test_the_conversation_of_the_paper(eliza):
    messages = []
    for person, machine in PAPER:
        messages.append(user(person))
        answer = eliza.chat(messages, {"upper": True})
        assert answer == machine
        messages.append({"role": "assistant", "content": answer})


def test_the_conversation_of_the_paper_as_prose(eliza):
    people = [person for person, _ in PAPER]
    answers = [eliza.chat(said(*people[: count + 1])) for count in range(len(people))]
    assert answers[:4] == [
        "In what way?",
        "Can you think of a specific example?",
        "Your boyfriend made you come here.",
        "I am sorry to hear you are depressed.",
    ]
    assert answers[-1] == "Does that have anything to do with the fact that your boyfriend made you come here?"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Hello!", "How do you do. Please state your problem."),
        ("Sorry…", "Please don't apologize."),
        ("I NEED HELP", "What would it mean to you if you got help?"),
        ("I need Anton and the BBC", "What would it mean to you if you got Anton and the BBC?"),
        ("i can’t sleep when i'm alone", "How do you know you can't sleep when you're alone?"),
        ("i think that i've won", "You say you think that I've won."),
        ("If it rains", "Do you think it's likely that it rains?"),
        ("Everybody hates me", "Really, everybody?"),
        ("I dreamt", "Really?"),
        ("Was I **very** <b>bold</b>", "What if you were very b bold /b?"),
        ("I want 3.14 apples", "What would it mean to you if you got 3.14 apples?"),
        ("Is a machine listening?", "Do computers worry you?"),
        ("You remind me of somebody", "In what way?"),
        ("My name is Anton", "I am not interested in names."),
        ("He can swim", "Hmmm."),
    ],
)
def test_prose(eliza, text, answer):
    assert eliza.chat(said(text)) == answer


@pytest.mark.parametrize("hidden", ["\ud800", "\x00", "\x1b", "\u202e", "\u200b", "\ufeff", "`", '"'])
def test_what_could_break_or_hide_text_is_not_repeated(eliza, hidden):
    answer = eliza.chat(said(f"I need {hidden} help"))
    assert answer == "What would it mean to you if you got help?"
    assert eliza.chat(said(f"I need {hidden} help"), {"upper": True}).encode()


def test_quotations_in_prose(eliza):
    assert eliza.chat(said(*["Was I wrong then"] * 5)) == "What does 'wrong then' suggest to you?"
    assert eliza.chat(said(*["no"])) == "Are you saying 'no' just to be negative?"
    assert eliza.chat(said(*["no"] * 4)) == "Why 'no'?"


@pytest.mark.parametrize(
    "text",
    ["Sprechen Sie Deutsch", "Parlez-vous français ?", "¿Hablas español?", "parla italiano"],
)
def test_languages_it_knows_by_name(eliza, text):
    assert eliza.chat(said(text)) == "I am sorry, I speak only English."


@pytest.mark.parametrize("text", ["मैं उदास हूँ", "我很难过。", "Мне грустно", "أنا حزين", "😀😀", "Ik ben verdrietig"])
def test_languages_it_does_not_know(eliza, text):
    assert eliza.chat(said(text)) == "I am not sure I understand you fully."


@pytest.mark.parametrize(
    "messages",
    [[], [{"role": "system", "content": "Be brief."}], [{"role": "assistant", "content": GREETING}]],
)
def test_the_opening_line(eliza, messages):
    assert eliza.chat(messages) == GREETING
    assert eliza.chat(messages, {"upper": True}) == "HOW DO YOU DO. PLEASE TELL ME YOUR PROBLEM"


@pytest.mark.parametrize("content", ["", "  \n ", None, [], [{"type": "image_url", "image_url": {"url": "x"}}]])
def test_saying_nothing_is_a_turn_without_a_keyword(eliza, content):
    assert eliza.chat([user(content)]) == "I am not sure I understand you fully."


def test_content_may_come_in_parts(eliza):
    parts = [{"type": "text", "text": "My mother"}, {"type": "image_url"}, {"type": "text", "text": "sings"}]
    assert eliza.chat([user(parts)]) == "Tell me more about your family."


def test_only_what_the_person_says_counts(eliza):
    talk = said("My dog ran away here", "x", "x")
    others = [{"role": "assistant", "content": "my computer"}, {"role": "system", "content": "I am sad"}]
    mixed = [others[1], talk[0], others[0], talk[1], others[0], talk[2], others[0]]
    assert eliza.chat(mixed) == eliza.chat(talk)
    assert eliza.chat(talk) == "Does that have anything to do with the fact that your dog ran away here?"


def test_an_instance_keeps_nothing_between_calls(eliza):
    first = eliza.chat(said("My mother"))
    eliza.chat(said("My mother", "My father"))
    assert eliza.chat(said("My mother")) == first


def test_only_the_end_of_a_long_message_counts(eliza):
    assert eliza.chat(said("computer " + "x" * 500)) == "I am not sure I understand you fully."
    assert eliza.chat(said("x " * 1000 + "computer")) == "Do computers worry you?"


def test_only_the_last_turns_count(eliza):
    talk = ["no", *["x"] * 199]
    assert eliza.chat(said(*talk, "no")) == "Are you saying 'no' just to be negative?"
    assert eliza.chat(said(*talk[:-1], "no")) == "You are being a bit negative."


@pytest.mark.parametrize("text", ["x" * 10_000_000, "I am sad " * 1_000_000, "." * 1_000_000])
def test_a_huge_message_costs_no_more_than_a_long_one(eliza, text):
    messages = said(text)
    start = time.thread_time()
    assert eliza.chat(messages)
    assert time.thread_time() - start < 0.05


def test_the_longest_conversation_is_quick(eliza):
    messages = said(*["I am like my mother, you think, " * 20] * 5000)
    start = time.thread_time()
    assert eliza.chat(messages)
    assert time.thread_time() - start < 0.5


def test_words_come_one_by_one(eliza):
    messages = said("Men are all alike.")
    assert list(eliza.chat_stream(messages)) == ["In ", "what ", "way?"]
    assert list(eliza.generate_stream("Men are all alike.")) == ["In ", "what ", "way?"]
    assert eliza.generate("Men are all alike.") == "In what way?"


async def test_words_come_one_by_one_without_a_thread(eliza, monkeypatch):
    monkeypatch.setattr(threads, "_threads", None)
    messages = said("Men are all alike.")
    assert [chunk async for chunk in eliza.achat_stream(messages)] == ["In ", "what ", "way?"]


def test_the_delay_is_slept_between_words(eliza, monkeypatch):
    naps = []
    monkeypatch.setattr(time, "sleep", naps.append)
    assert list(eliza.chat_stream(said("Men are all alike."), {"delay": 0.25})) == ["In ", "what ", "way?"]
    assert naps == [0.25, 0.25]


async def test_the_delay_is_awaited_between_words(eliza, monkeypatch):
    naps = []

    async def nap(seconds):
        naps.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", nap)
    stream = eliza.achat_stream(said("Men are all alike."), {"delay": 1})
    assert [chunk async for chunk in stream] == ["In ", "what ", "way?"]
    assert naps == [1.0, 1.0]


async def test_a_stream_stops_when_it_is_left(eliza):
    stream = eliza.achat_stream(said("Men are all alike."), {"delay": 10})
    assert await anext(stream) == "In "
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


def test_parameters_of_the_model_are_defaults_of_the_call(eliza):
    eliza.load_model("eliza", {"upper": True})
    assert eliza.generate("no") == "ARE YOU SAYING 'NO' JUST TO BE NEGATIVE"
    assert eliza.generate("no", {"upper": False}) == "Are you saying 'no' just to be negative?"
    assert eliza.generate("no", {"upper": None}) == "ARE YOU SAYING 'NO' JUST TO BE NEGATIVE"


def test_parameters_of_other_engines_are_ignored(eliza):
    assert eliza.generate("no", {"temperature": 2, "max_tokens": 1, "stop": ["no"]}) == eliza.generate("no")


@pytest.mark.parametrize(
    "parameters",
    [{"delay": value} for value in (-1, 10.5, float("nan"), float("inf"), "1", True, [])]
    + [{"upper": value} for value in (1, "yes", [])],
)
async def test_bad_parameters(eliza, parameters):
    with pytest.raises(ParameterError):
        eliza.load_model("doctor", parameters)
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
    assert eliza.generate(" ") == GREETING


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
    backend.load_model("ELIZA")
    assert backend.info().loaded
    assert "no language model" in backend.info().description
    backend.unload()
    assert not backend.is_model_loaded()


PHRASES = st.sampled_from(
    "i,my,mother,i'm,you're,are,am,was,were,like,dreamt,remember,can,why,don't,can't,yes,no,but,.,',-,computer,"
    "think,sad,happy,me,your,you,everyone,if,because,name,sorry,same".split(",")
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
        backend.load_model("doctor", {"upper": upper})
    answer = one.chat(messages)
    assert answer.strip()
    answer.encode()
    assert other.chat(messages) == answer
    assert one.chat(messages) == answer
    assert "".join(one.chat_stream(messages)) == answer
    if not upper:
        assert answer[-1] in "?."
