"""The script of the built-in listener, and the turning round of what a person says."""

import itertools

import pytest

from llamaforge.backends.eliza import engine as texts
from llamaforge.backends.eliza.engine import LAST_CHARACTERS, answer, other_side, script

# Something to say for each rule, in the order of the script, that no rule before it takes.
SAID = (
    "I want to die", "Hello!", "Good night", "Thank you.", "How are you?", "Are you a computer?", "I apologise",
    "Do you remember me?", "I dreamt of a house", "My name is Anton", "I remember that day", "I am so lonely here",
    "I'm really happy about it", "I feel odd", "I want to sleep", "I need a holiday", "I wish it were spring",
    "I can't swim", "I don't know", "I don't eat meat", "I think that she left", "I like rain", "I hate rain",
    "I must go", "I was there", "I have a cold", "I am Dutch", "Can you sing?", "Do you like me?", "You are kind",
    "You annoy me", "Do you sleep?", "My mother sings", "Should we meet or should I stay?", "Was I wrong?",
    "Why is that?", "My cat sings", "What is that?", "Because it rains", "If it rains", "It never rains",
    "Nobody came", "Work is dull", "The computer broke", "Yes", "Not really", "Perhaps",
)  # fmt: skip


def chosen(said: str) -> int:
    """Which rule's first remark is said to the first thing that a person says."""
    remark = answer([said]).split("\n\n")[0]
    starts = [rule.remarks[0].split("{}")[0] for rule in script()]
    return max((len(start), index) for index, start in enumerate(starts) if remark.startswith(start))[1]


def test_every_rule_can_be_reached() -> None:
    assert [chosen(said) for said in SAID] == list(range(len(script())))


def test_the_script_is_one_of_many_words_and_no_remark_stands_twice() -> None:
    remarks = [remark for rule in script() for remark in rule.remarks]
    remarks += [*texts.ANYTHING, *texts.LOOKING_BACK, *texts.SILENCE, *texts.ONLY_ENGLISH, texts.OPENING]
    assert len(set(remarks)) == len(remarks)
    assert all(len(rule.remarks) >= 2 for rule in script())
    assert all(remark[-1] in ".?!" for remark in remarks)
    for rule in script():  # a phrase stands only where the pattern has one
        assert rule.pattern.groups or not any("{}" in remark for remark in rule.remarks), rule.pattern.pattern


@pytest.mark.parametrize(
    ("phrase", "turned"),
    [
        ("my plan for you", "your plan for me"),
        ("I am what you are", "you are what I am"),
        ("you were late when I was cross", "I was late when you were cross"),
        ("i've seen yours, you've seen mine", "you've seen mine, I've seen yours"),
        ("that you like me", "that I like you"),
        ("because you hurt me", "because I hurt you"),
        ("people who trust you", "people who trust me"),
        ("ask you about your day", "ask me about my day"),
        ("myself and yourself", "yourself and myself"),
        ("our house and us", "your house and you"),
        ("i'm fine, you're not", "you're fine, I'm not"),
        ("Anton's island in Maine", "Anton's island in Maine"),
        ("a holiday today", "a holiday"),
        ("a holiday because I am tired", "a holiday"),
        ("'quiet' -", "quiet"),
        ("", ""),
    ],
)
def test_pronouns_are_turned_round(phrase: str, turned: str) -> None:
    assert other_side(phrase) == turned


def test_a_phrase_is_no_longer_than_it_must_be() -> None:
    assert len(other_side("x" * 1000)) == 120


def test_remarks_of_a_rule_take_turns() -> None:
    need = next(rule for rule in script() if rule.pattern.search("I need it"))
    said: list[str] = []
    remarks = []
    for thing in ("tea", "rest", "time", "tea"):
        said.append(f"I need {thing}")
        remarks.append(answer(said, introduced=True))
    things = ("tea", "rest", "", "tea")
    expected = [need.remarks[turn % len(need.remarks)].replace("{}", things[turn]) for turn in range(4)]
    assert remarks == expected


@pytest.mark.parametrize("said", ["I need tea", "x", "My cat sleeps", "", "你好", "Hello", "no"])
def test_no_remark_is_made_twice_in_a_row(said: str) -> None:
    turns, remarks = [], [""]
    for _ in range(12):
        turns.append(said)
        remarks.append(answer(turns, remarks[-1], introduced=True))
    assert all(one != other for one, other in itertools.pairwise(remarks))


def test_a_remark_that_was_just_made_gives_way_whatever_the_count_says() -> None:
    assert answer(["a", "I need tea"], introduced=True) == "What would tea change for you?"
    assert (
        answer(["a", "I need tea"], "What would tea change for you?", introduced=True)
        == "How do you get by without tea?"
    )


def test_it_comes_back_to_what_is_the_persons_own() -> None:
    said = ["My cat ran away", "x", "x"]
    assert "your cat ran away" in answer(said)
    assert "your cat" not in answer([*said, "x"])
    assert "your cat ran away" in answer([*said, "x", "x"])
    assert "your" not in answer(["My name is Anton", "x", "x"])


def test_it_says_what_it_is_until_it_has_said_so() -> None:
    assert answer([]).endswith(texts.NAME)
    assert answer(["I need tea"]).endswith(f"\n\n{texts.NAME}")
    assert texts.NAME not in answer(["I need tea"], introduced=True)
    assert answer(["What are you?"]).count("small program") == 1


def test_only_the_end_of_a_long_turn_counts() -> None:
    assert "machines" not in answer(["x", "computer " + "x" * LAST_CHARACTERS]).lower()
    assert "machines" in answer(["x", "y " * 1000 + "computer"])


def test_whoever_speaks_of_dying_is_sent_to_people() -> None:
    for said in ("I want to die", "i think of SUICIDE", "I am sad and I keep hurting myself"):
        assert "emergency number" in answer([said])
