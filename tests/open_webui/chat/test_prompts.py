"""Side questions: placeholders of custom prompts, and what is read out of a model's messy answer."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_webui.chat import prompts
from tests.support.turns import spent

SAID = [
    {"role": r, "content": c}
    for r, c in (("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four"))
]


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{{MESSAGES}}", "USER: one\nASSISTANT: two\nUSER: three\nASSISTANT: four"),
        ("{{MESSAGES:START:1}}", "USER: one"),
        ("{{MESSAGES:END:1}}", "ASSISTANT: four"),
        ("{{MESSAGES:END:0}}", ""),
        ("{{MESSAGES:START:0}}", ""),
        ("{{MESSAGES:MIDDLETRUNCATE:2}}", "USER: one\nASSISTANT: four"),
        ("{{MESSAGES:MIDDLETRUNCATE:99}}", "USER: one\nASSISTANT: two\nUSER: three\nASSISTANT: four"),
        ("{{prompt}}", "what now"),
        ("{{prompt:start:4}}", "what"),
        ("{{prompt:end:3}}", "now"),
        ("{{prompt:end:0}}|{{prompt:start:0}}", "|"),
        ("{{prompt:middletruncate:4}}", "wh…ow"),
        ("{{USER_NAME}}", "Ann {{prompt}}"),
        ("{{UNKNOWN}} {{prompt:middle:2}} {{MESSAGES:END:1234567}}", "{{UNKNOWN}} {{prompt:middle:2}} {{MESSAGES:END:1234567}}"),
        ("{{{{prompt}}}}", "{{what now}}"),
    ],
)  # fmt: skip
def test_placeholders(template: str, filled: str) -> None:
    """What people wrote is put in as it is: their text is no template."""
    assert prompts.fill(template, SAID, "what now", "Ann {{prompt}}") == filled


def test_moments() -> None:
    for name, length in (("CURRENT_DATE", 10), ("CURRENT_TIME", 8), ("CURRENT_DATETIME", 19)):
        assert len(prompts.fill("{{" + name + "}}", [], "", "")) == length
    assert prompts.fill("{{CURRENT_WEEKDAY}}", [], "", "").endswith("day")


@given(st.text(), st.text())
def test_no_template_breaks_it(template: str, question: str) -> None:
    prompts.fill(template, SAID, question, "Ann")


def test_an_excerpt_is_bounded_and_keeps_the_end() -> None:
    said = [{"role": "user", "content": "x" * 30_000 + "end"}]
    excerpt = prompts.transcript(said)
    assert len(excerpt) == prompts.MAX_EXCERPT
    assert excerpt.endswith("end")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a", "a"),
        (None, ""),
        (7, ""),
        ([{"text": "a"}, {"type": "image_url"}, "x", {"text": 3}, {"text": "b"}], "a\nb"),
    ],
)
def test_plain_text(content: Any, text: str) -> None:
    assert prompts.plain_text(content) == text


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ('{"title": "Foxes"}', "Foxes"),
        ('Sure!\n```json\n{"title": "Foxes"}\n```\nAnything else?', "Foxes"),
        ('{"title": "  \\"Foxes\\"\\n and dogs "}', 'Foxes" and dogs'),
        ('{"title": ""}', None),
        ('{"title": "\\"\\""}', None),
        ('{"title": 7}', None),
        ('{"title": ["Foxes"]}', None),
        ('{"tags": ["Foxes"]}', None),
        ("Foxes", "Foxes"),
        ("**Foxes**", "Foxes"),
        ("Title: Foxes", "Foxes"),
        ("**Title:** Foxes", "Foxes"),
        ("# Foxes", "Foxes"),
        ("Title", "Title"),
        ("C# and F*", "C# and F"),
        ('"Foxes"', "Foxes"),
        ("Here is a title:\nFoxes", None),
        ("word " * 40, None),
        ("<think>hm</think>Foxes", "Foxes"),
        ('<think>As {"title": "..."}.</think>\n{"title": "Foxes"}', "Foxes"),
        ('I need {"title": "..."} here.</think>{"title": "Foxes"}', "Foxes"),
        ('{"title": "Foxes",}', "Foxes"),
        ('{"title": "Foxes"} or {"title": "Dogs"}', "Foxes"),
        ('{see} {"title": "Foxes"} for {you}', "Foxes"),
        ("{" * 100_000, None),
        ("{", None),
        ("}{", None),
        ('{"title": "Fo', None),
        ("", None),
        ('[{"title": "Foxes"}]', "Foxes"),
        ('{"title": ' + "[" * 100_000 + "]" * 100_000 + "}", None),
        ('{"title": "a\ud800"}', None),
    ],
)  # fmt: skip
def test_a_title_out_of_a_messy_answer(answer: str, title: str | None) -> None:
    assert prompts.title_of(answer) == title


def test_a_title_is_bounded() -> None:
    assert len(prompts.title_of('{"title": "' + "x" * 5000 + '"}') or "") == 120


@pytest.mark.parametrize(
    ("answer", "texts"),
    [
        ('{"tags": ["a", " a ", "b", "", 7, null, ["c"], "d", "e"]}', ["a", "b", "d"]),
        ('{"tags": "a"}', []),
        ('{"tags": null}', []),
        ("no json", []),
        ("Here are some:\n- a\n * b \n3) c\n4. d", ["a", "b", "c"]),
        ("<think>- no</think>1. a", ["a"]),
        ('{"other": 1}\n- a', ["a"]),
        ('{"tags": []}\n- a', []),
        ('["a", "b"]', ["a", "b"]),
        ('a list: ["a",]', ["a"]),
        ('<think>{"tags": []}? no.</think>{"tags": ["a"]}', ["a"]),
        ('{"tags": ["a"]}\n{"tags": ["b"]}', ["a"]),
        ('{"other": 1} {"tags": ["a"]}', ["a"]),
        ('{"tags": ["a\\ud800", "b\\u0007", "c"]}', ["c"]),
        ('{"tags": ["' + "x" * 99 + '"]}', ["x" * 10]),
    ],
)
def test_a_list_out_of_a_messy_answer(answer: str, texts: list[str]) -> None:
    assert prompts.parse_texts(answer, "tags", most=3, longest=10) == texts


@given(st.text())
def test_no_answer_breaks_it(answer: str) -> None:
    prompts.title_of(answer)
    prompts.parse_texts(answer, "tags", most=3, longest=10)
    prompts.title_of('{"title": "' + answer + '"}')


@pytest.mark.parametrize(
    ("question", "title"),
    [("Hi  there\n", "Hi there"), ("", "New Chat"), ("  ", "New Chat"), ("word " * 30, "word " * 10 + "word…")],
)
def test_a_title_from_the_question(question: str, title: str) -> None:
    assert prompts.short_title(question) == title
    assert len(prompts.short_title("x" * 500)) <= 60


@pytest.mark.parametrize(
    "answer", ["\n" * 100_000, " " * 100_000 + "x", "*" * 100_000 + "x", "- " * 50_000, "-" + "\t" * 99_999]
)
def test_no_answer_takes_longer_than_it_is_long(answer: str) -> None:
    with spent() as cost:
        prompts.title_of(answer)
        prompts.parse_texts(answer, "tags", most=3, longest=10)
    assert cost.seconds < 0.5
