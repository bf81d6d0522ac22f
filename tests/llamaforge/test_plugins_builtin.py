"""The built-in plugins, in exact text."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.exceptions import ParameterError
from llamaforge.plugins.calculator import CalculationError, Calculator, calculate
from llamaforge.plugins.text_cleaner import TextCleaner
from llamaforge.plugins.text_formatter import TextFormatter

# ---- text_formatter


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, "Why?"),
        ({"trim_whitespace": False}, "  Why?\n"),
        ({"template": "Q: {text} {x}\nA:"}, "Q: Why? {x}\nA:"),
        ({"add_system_instruction": True, "system_instruction": "Be brief."}, "Be brief.\n\nWhy?"),
        ({"system_instruction": "Be brief."}, "Why?"),
        ({"format_as_chat": True}, "[INST] Why? [/INST]"),
        (
            {"format_as_chat": True, "add_system_instruction": True, "system_instruction": "Be brief."},
            "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWhy? [/INST]",
        ),
        (
            {
                "format_as_chat": True,
                "chat_format": "chatml",
                "add_system_instruction": True,
                "system_instruction": "S",
            },
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            {"format_as_chat": True, "chat_format": "chatml"},
            "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        ),
        ({"format_as_chat": True, "chat_format": "alpaca"}, "### Instruction:\nWhy?\n\n### Response:\n"),
        (
            {
                "format_as_chat": True,
                "chat_format": "alpaca",
                "add_system_instruction": True,
                "system_instruction": "S",
            },
            "S\n\n### Instruction:\nWhy?\n\n### Response:\n",
        ),
        ({"format_as_chat": True, "template": "<{text}>"}, "[INST] <Why?> [/INST]"),
    ],
)
def test_the_formatter(config: dict[str, object], expected: str) -> None:
    assert TextFormatter(config).process("  Why?\n") == expected


def test_braces_in_a_prompt_are_only_text() -> None:
    assert TextFormatter({"template": "[{text}]"}).process("{text} {0} {") == "[{text} {0} {]"


# ---- text_cleaner

MARKED = [
    ("  Hello there.  ", "Hello there."),
    ("<s>Hello</s>", "Hello"),
    ("<|im_start|>assistant\nHello<|im_end|>", "Hello"),
    ("<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>", "Hello"),
    ("[INST] Hi [/INST] Hello<pad><pad>", "Hi  Hello"),
    ("<<SYS>>x<</SYS>>y", "xy"),
    ("<bos>Hello<end_of_turn>", "Hello"),
    ("<｜end▁of▁sentence｜>Hello", "Hello"),
    ("if a < b and c[0] > d: <b>bold</b>", "if a < b and c[0] > d: <b>bold</b>"),
    ("a <|", "a <|"),
    ("list[i", "list[i"),
    ("", ""),
    (" \n ", ""),
]


@pytest.mark.parametrize(("text", "expected"), MARKED)
def test_the_cleaner_gives_the_same_however_the_answer_is_cut(text: str, expected: str) -> None:
    cleaner = TextCleaner()
    assert cleaner.process(text) == expected
    assert "".join(cleaner.process_stream(iter(text))) == expected
    for cut in range(len(text)):
        assert "".join(cleaner.process_stream(iter([text[:cut], text[cut:]]))) == expected


def test_words_of_a_stream_are_not_glued_together() -> None:
    pieces = ["Hello", " there", ",", " how", " are", " ", "you", "?", "\n"]
    assert list(TextCleaner().process_stream(iter(pieces))) == ["Hello", " there", ",", " how", " are", " you", "?"]


def test_the_pieces_of_plain_text_come_at_once() -> None:
    seen: list[str] = []
    stream = TextCleaner().process_stream(iter(["One", " two", " three"]))
    for piece in stream:
        seen.append(piece)
        assert "".join(seen) == "One two three"[: len("".join(seen))]
    assert seen == ["One", " two", " three"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("First one. Second one? Third", "First one. Second one?"),
        ('He said "Go." And th', 'He said "Go."'),
        ("Pi is 3.14 and so on. It goe", "Pi is 3.14 and so on."),
        ("no end at all", "no end at all"),
        ("All done.", "All done."),
    ],
)
def test_incomplete_sentences(text: str, expected: str) -> None:
    cleaner = TextCleaner({"remove_incomplete_sentences": True})
    assert cleaner.process(text) == expected
    assert "".join(cleaner.process_stream(iter(text))) == expected


def test_patterns_of_ones_own() -> None:
    cleaner = TextCleaner({"special_token_patterns": [r"\{\{.*?\}\}", "XX+"]})
    assert cleaner.process("a{{note}}bXXXc") == "abc"
    assert "".join(cleaner.process_stream(iter("a{{note}}bXXXc"))) == "abc"
    assert TextCleaner({"remove_special_tokens": False}).process(" <s> ") == "<s>"


PARTS = st.sampled_from(["<", "|", "im_start", "|>", "assistant", "\n", " ", "word", "</s>", "[INST]", "[", ". ", "<s"])


@given(st.lists(PARTS, max_size=12), st.booleans(), st.booleans())
def test_a_stream_joins_to_the_whole(parts: list[str], sentences: bool, trim: bool) -> None:
    cleaner = TextCleaner({"remove_incomplete_sentences": sentences, "trim_whitespace": trim})
    whole = cleaner.process("".join(parts))
    assert "".join(cleaner.process_stream(iter(parts))) == whole
    assert "".join(cleaner.process_stream(iter("".join(parts)))) == whole


# ---- calculator


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("calculate sqrt(144)", 12),
        ("Calculate: 7 / 2", 3.5),
        ("What is 2 ^ 10?", 1024),
        ("2 ** -1", 0.5),
        ("2^3^2", 512),
        ("-2^2", -4),
        ("10 / 2", 5),
        ("7 // 2 + 7 % 4", 6),
        ("1e3", 1000),
        ("0.1 + 0.2", 0.1 + 0.2),
        ("sin(pi/2) + cos(0)", 2),
        ("log(e)", 1),
        ("log(8, 2)", 3),
        ("log10(1000)", 3),
        ("SQRT(16)", 4),
        ("round(2.567, 1)", 2.6),
        ("max(1, 2, 3) - min(4, 5)", -1),
        ("factorial(10)", 3628800),
        ("10 × 4 ÷ 8 − 1", 4),
        ("2^100", 2**100),
        ("π", math.pi),
    ],
)
def test_the_calculator(expression: str, value: float) -> None:
    result = calculate(expression)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("", "There is nothing to calculate."),
        ("calculate", "There is nothing to calculate."),
        (None, "The expression must be text."),
        ("1 / 0", "Division by zero."),
        ("5 % 0", "Division by zero."),
        ("0 ^ -1", "Division by zero."),
        ("9**9**9", "The result is too large."),
        ("9^9^9^9^9", "The result is too large."),
        ("10.0^400", "The result is too large."),
        ("1e308 * 10", "The result is too large."),
        ("exp(1000)", "The result is too large."),
        ("2^4000 * 2^4000", "The result is too large."),
        ("1e999 - 1e999", "The result is not a number."),
        ("sqrt(-1)", "sqrt(-1) is not defined."),
        ("(-8)^0.5", "The root of a negative number is not real."),
        ("log(0)", "log(0) is not defined."),
        ("2 +", "'2 +' is not an arithmetic expression."),
        ("((1)", "'((1)' is not an arithmetic expression."),
        ("1; 2", "'1; 2' is not an arithmetic expression."),
        ("\0", "'\0' is not an arithmetic expression."),
        ("twelve", "'twelve' is not a number, constant or function that the calculator knows."),
        ("sqrt", "'sqrt' needs its argument in parentheses: sqrt(2)."),
        ("sqrt()", "sqrt takes 1 argument, not 0."),
        ("log(1, 2, 3)", "log takes 1 to 2 arguments, not 3."),
        ("'a' * 3", "''a'' is not arithmetic that the calculator knows."),
        ("True + 1", "True is not a number."),
        ("2j", "'2j' is not arithmetic that the calculator knows."),
        ("[1, 2]", "'[1, 2]' is not arithmetic that the calculator knows."),
        ("(1).__class__", "'1 .__class__' is not arithmetic that the calculator knows."),
        ("__import__('os').system('true')", None),
        ("1 << 99999999", "'1 << 99999999' is not arithmetic that the calculator knows."),
        ("lambda: 1", "'lambda: 1' is not arithmetic that the calculator knows."),
        ("factorial(1000000)", "factorial takes a whole number from 0 to 400."),
        ("round(1, -10^9)", "round takes a whole number of digits from -30 to 30."),
        ("1+" * 300 + "1", "The expression is longer than 500 characters."),
        ("+".join(["1"] * 100), "The expression is nested too deeply."),
        ("(" * 240 + "1" + ")" * 240, None),
        ("-" * 400 + "1", "The expression is nested too deeply."),
    ],
)
def test_what_cannot_be_calculated_is_said_plainly_and_at_once(expression: str, sentence: str | None) -> None:
    start = time.process_time()
    with pytest.raises(CalculationError) as caught:
        calculate(expression)
    assert time.process_time() - start < 0.5
    if sentence is not None:
        assert str(caught.value) == sentence


def test_the_calculator_as_a_tool() -> None:
    assert Calculator().process_tool_call("calculator", {"expression": "6*7"}) == 42
    with pytest.raises(ParameterError):
        Calculator().process("6*")
