"""The ELIZA program on scripts of its own: every rule of the paper by itself."""

import time

import pytest

from llamaforge.backends.eliza.engine import Conversation, Pattern, Program, slip_hash
from llamaforge.backends.eliza.language import write_prose, write_teletype
from llamaforge.backends.eliza.script import Key, Memory, Rule, Script, parse
from llamaforge.backends.eliza.script import doctor as read_doctor

DOCTOR = read_doctor()

TAGS = {"FAMILY": frozenset({"MOTHER", "FATHER"}), "FRUIT": frozenset({"PEAR"})}
MEMORY = Memory("KEEP", tuple(Rule("0 KEEP 0", (f"RULE {rule} KEPT 3",)) for rule in ("A", "B", "C", "D")))


def talk_with(*keys, none=("NOTHING", "STILL NOTHING")):
    """A talk by a script of these keys; call it with sentences to get the answer to the last."""
    script = Script("GREETINGS", (*keys, Key("KEEP", rank=2, rules=(Rule("0", ("KEPT",)),))), MEMORY, none)
    conversation = Conversation(Program(script))

    def say(*sentences):
        return [write_teletype(conversation.respond(sentence).words) for sentence in sentences][-1]

    return say


def echo(word, **more):
    return Key(word, rules=(Rule("0", (f"HEARD {word}",)),), **more)


@pytest.fixture
def doctor():
    conversation = Conversation(Program(DOCTOR))
    return lambda text: write_teletype(conversation.respond(text).words)


@pytest.mark.parametrize(
    ("pattern", "sentence", "parts"),
    [
        ("0", "", [""]),
        ("0", "A B", ["A B"]),
        ("0 0", "A B", ["", "A B"]),
        ("0 IF 0", "WHAT IF YOU DIE", ["WHAT", "IF", "YOU DIE"]),
        ("0 IF 0", "IF", ["", "IF", ""]),
        ("0 IF 0", "A IF B IF C", ["A", "IF", "B IF C"]),
        ("0 IF 0", "WHAT THEN", None),
        ("IF 0", "IF A", ["IF", "A"]),
        ("IF 0", "A IF", None),
        ("0 YOU", "I LOVE YOU AND YOU", ["I LOVE YOU AND", "YOU"]),
        ("0 I 0 YOU", "I HATE YOU", ["", "I", "HATE", "YOU"]),
        ("0 I 0 YOU", "I HATE YOU SO", None),
        ("A B", "A B", ["A", "B"]),
        ("A B", "A B C", None),
        ("A A 0 A", "A A", None),
        ("2 0", "A B C", ["A B", "C"]),
        ("2 0", "A", None),
        ("2", "A B", ["A B"]),
        ("2", "A B C", None),
        ("0 2", "A B C", ["A", "B C"]),
        ("0 A 1 C 0", "A C A B C", ["A C", "A", "B", "C", ""]),
        ("0 (* WANT NEED) 0", "YOU NEED HELP", ["YOU", "NEED", "HELP"]),
        ("0 (*WANT NEED ) 0", "YOU WANT HELP", ["YOU", "WANT", "HELP"]),
        ("0 (* WANT NEED) 0", "YOU LIKE HELP", None),
        ("0 YOUR 0 (/FAMILY) 0", "YOUR OLD MOTHER SINGS", ["", "YOUR", "OLD", "MOTHER", "SINGS"]),
        ("0 (/FAMILY FRUIT) 0", "A PEAR", ["A", "PEAR", ""]),
        ("0 (/FAMILY) 0", "A PEAR", None),
        ("0 YOU ARE 0", "YOU YOU ARE", ["YOU", "YOU", "ARE", ""]),
    ],
)
def test_decomposition(pattern, sentence, parts):
    words = sentence.split()
    found = Pattern(pattern, TAGS).match(words, frozenset(words))
    assert (found and [" ".join(words[part]) for part in found]) == parts


def test_reassemblies_take_turns_each_rule_by_itself():
    say = talk_with(Key("A", rules=(Rule("0 A B 0", ("ONE 4", "TWO 4")), Rule("0", ("THREE", "FOUR")))))
    answers = [say(text) for text in ("a b x", "a", "a b y", "a b z", "a", "a")]
    assert answers == ["ONE X", "THREE", "TWO Y", "ONE Z", "FOUR", "THREE"]


def test_the_keyword_of_highest_rank_answers_and_the_first_among_equals():
    say = talk_with(echo("LOW"), echo("HIGH", rank=9), echo("TALL", rank=9))
    assert say("low high tall") == "HEARD HIGH"
    assert say("tall high low") == "HEARD TALL"
    assert say("low") == "HEARD LOW"


def test_newkey_passes_to_the_next_keyword_and_at_last_to_none():
    passing = Rule("0", ("NEWKEY",))
    say = talk_with(Key("PASS", rank=9, rules=(passing,)), Key("ALSO", rank=5, rules=(passing,)), echo("LOW"))
    assert say("low also pass") == "HEARD LOW"
    assert say("also pass") == "NOTHING"


def test_newkey_may_take_its_turn_among_answers():
    say = talk_with(Key("A", rank=1, rules=(Rule("0", ("ANSWER", "NEWKEY")),)), echo("B"))
    assert [say("a b") for _ in range(3)] == ["ANSWER", "HEARD B", "ANSWER"]


def test_a_link_answers_as_another_keyword_and_shares_its_turns():
    target = Key("TARGET", rules=(Rule("0", ("ONE", "TWO", "THREE")),))
    say = talk_with(target, Key("SAME", link="TARGET"), Key("ALSO", rules=(Rule("0 ALSO 0", ("=TARGET",)),)))
    assert [say(text) for text in ("same", "also", "target")] == ["ONE", "TWO", "THREE"]


def test_a_link_after_rules_is_for_what_they_do_not_fit():
    say = talk_with(echo("TARGET"), Key("WHY", link="TARGET", rules=(Rule("0 WHY NOT 0", ("INDEED",)),)))
    assert [say("why not"), say("why so")] == ["INDEED", "HEARD TARGET"]


def test_pre_puts_another_sentence_in_place():
    i = Key("I", becomes="YOU", rules=(Rule("0 YOU ARE 0", ("SINCE WHEN ARE YOU 4",)),))
    im = Key("I'M", becomes="YOU'RE", rules=(Rule("0 YOU'RE 0", ("PRE YOU ARE 3 =I",)),))
    assert talk_with(i, im)("well now I'm tired") == "SINCE WHEN ARE YOU TIRED"


def test_substitutions_alone_are_no_keywords():
    say = talk_with(Key("ME", becomes="YOU"), Key("TELL", rules=(Rule("0 TELL 0", ("TELL 3",)),)))
    assert say("tell me") == "TELL YOU"
    assert say("me") == "NOTHING"


def test_tags_alone_are_no_keywords():
    say = talk_with(
        Key("MUM", becomes="MOTHER", tags=("FAMILY",)),
        Key("MOTHER", tags=("FAMILY",)),
        Key("MY", rules=(Rule("0 MY (/FAMILY) 0", ("YOUR 3",)),)),
    )
    assert say("my mum") == "YOUR MOTHER"
    assert say("mum") == "NOTHING"


@pytest.mark.parametrize(
    "text",
    ["well, key this, other", "well. key this. other", "well but key this but other", "well; key this! other",
     "(well) key this (other)", "well — key this — other", "好。key this。other"],
)  # fmt: skip
def test_only_the_first_clause_with_a_keyword_counts(text):
    key = Key("KEY", rules=(Rule("0", ("CLAUSE 1",)),))
    assert talk_with(key, echo("OTHER", rank=9))(text) == "CLAUSE KEY THIS"


def test_points_within_numbers_end_nothing():
    say = talk_with(Key("KEY", rules=(Rule("0 KEY 0", ("GOT 3",)),)))
    assert say("key 3.14 at 10:30, then") == "GOT 3.14 AT 10:30"


def test_a_keyword_none_of_whose_rules_fit_gets_one_of_four_remarks_by_the_count():
    say = talk_with(Key("CAN", rules=(Rule("0 CAN FLY 0", ("FLY THEN",)),)))
    assert [say("can") for _ in range(5)] == ["HMMM", "GO ON, PLEASE", "I SEE", "PLEASE CONTINUE", "HMMM"]


def test_nothing_found_takes_turns():
    say = talk_with()
    assert [say(text) for text in ("x", "", "...", "but")] == ["NOTHING", "STILL NOTHING", "NOTHING", "STILL NOTHING"]


def test_memories_come_back_in_order_at_every_fourth_count_without_a_keyword():
    say = talk_with()
    say("keep the cat here")
    say("keep the dog here")
    assert say("x") == "RULE D KEPT THE CAT HERE"
    assert [say("x") for _ in range(4)][-1] == "RULE D KEPT THE DOG HERE"
    assert "KEPT" not in [say("x") for _ in range(4)][-1]


def test_a_memory_is_laid_down_only_when_its_keyword_comes_first():
    say = talk_with(echo("HIGH", rank=9))
    say("keep the high cat here", "x")
    assert say("x") in ("NOTHING", "STILL NOTHING")


@pytest.mark.parametrize(("ending", "rule"), [("time", "A"), ("kids", "B"), ("here", "D")])
def test_the_last_word_decides_the_rule_of_a_memory(ending, rule):
    say = talk_with()
    say(f"keep my {ending}", "x")
    assert say("x") == f"RULE {rule} KEPT MY {ending.upper()}"


@pytest.mark.parametrize(
    ("word", "bits", "value"),
    [("ALWAYS", 7, 14), ("HERE", 2, 3), ("KIDS", 2, 1), ("TIME", 2, 0), ("SOMETHERE", 2, slip_hash("ERE", 2))],
)
def test_the_hash_is_that_of_the_paper_and_of_the_recorded_talks(word, bits, value):
    assert slip_hash(word, bits) == value


@pytest.mark.parametrize("word", ["", "é", "好好好好好好好", "😀", "\ud800"])
def test_the_hash_of_what_the_machine_could_not_type(word):
    assert 0 <= slip_hash(word, 2) <= 3


def test_a_ring_of_links_ends():
    say = talk_with(Key("A", link="B"), Key("B", link="A"))
    assert say("a") == "HMMM"


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (Key("A", link="GONE"), "link to GONE"),
        (Key("A", rules=(Rule("0", ("=GONE",)),)), "link to GONE"),
        (Key("A", rules=(Rule("0 A 0", ("SAY 4",)),)), "part 4 of a decomposition of 3"),
        (Key("A", rules=(Rule("0 A 0", ("SAY 0",)),)), "part 0"),
        (Key("A", rules=(Rule("0 A 0", ("PRE SAY 9 =A",)),)), "part 9"),
        (Key("A", rules=(Rule("0 A 0", ("2 3",)),)), "could be empty"),
        (Key("A", rules=(Rule("0 A 0", ("",)),)), "could be empty"),
    ],
)
def test_a_script_with_a_mistake_is_refused(key, sentence):
    with pytest.raises(ValueError, match=sentence):
        talk_with(key)


@pytest.mark.parametrize(
    "words",
    ["A " * 500, "A " * 499 + "B", "A B " * 250, "I " * 500, "LIKE " * 500, "MY MOTHER " * 250, "YOU I THINK " * 167,
     "I AM SAD YOU " * 125, "I'M YOU'RE " * 250, "DREAMT LIKE REMEMBER WAS " * 125, "I, " * 500, "a" * 5000],
)  # fmt: skip
def test_no_input_takes_long(words, doctor):
    """Five hundred words against every rule of DOCTOR and against the pattern that kills a matcher which backtracks."""
    keys = words.split()
    killer = Pattern("0 A 0 A 0 A 0 A 0 A 0 A 0 A 0 A 0 A 0 A 0 B C", {})
    start = time.thread_time()
    doctor(words)
    assert killer.match(keys, frozenset({*keys, "B", "C"})) is None
    assert time.thread_time() - start < 0.05


def test_doctor_has_the_ranks_of_the_paper():
    ranks = {key.word: key.rank for key in DOCTOR.keys if key.rank}
    assert ranks == {
        "COMPUTER": 50, "COMPUTERS": 50, "MACHINE": 50, "MACHINES": 50, "NAME": 15, "ALIKE": 10, "SAME": 10,
        "LIKE": 10, "REMEMBER": 5, "DREAMT": 4, "DREAMED": 4, "IF": 3, "DREAM": 3, "DREAMS": 3, "WAS": 2, "MY": 2,
        "EVERYONE": 2, "EVERYBODY": 2, "NOBODY": 2, "NOONE": 2, "ALWAYS": 1,
    }  # fmt: skip
    assert len({key.word for key in DOCTOR.keys}) == len(DOCTOR.keys)


def test_every_answer_of_doctor_can_be_heard():
    """Each keyword answers a sentence that is only itself, and twice round its turns nothing is ever empty."""
    for key in DOCTOR.keys:
        conversation = Conversation(Program(DOCTOR))
        for _ in range(20):
            reply = conversation.respond(f"{key.word} something")
            assert write_teletype(reply.words)
            assert write_prose(reply.words, question=reply.question)[-1] in "?."


# ---- how a script is written


SMALL = """; a comment
(HOW DO YOU DO)
(NONE ((0) (GO ON) (AND THEN)))
(DONT = DON'T)
(MOM = MOTHER 3 DLIST(/FAMILY NOUN) ((0 YOUR (* MOM DAD) 0 (/FAMILY))
    (TELL ME, WHO IS 4) (=WHAT) (PRE (I ARE 3) (=YOU)) (NEWKEY))
    ((0) (WHY)) (=DAD))
(DAD (=MOM))
(MEMORY MY (0 A 0 = ONE 3) (0 B 0 = TWO 3) (0 C 0 = THREE 3) (0 D 0 = FOUR 3))
"""


def test_the_notation_of_the_paper():
    script = parse(SMALL)
    answers = ("TELL ME, WHO IS 4", "=WHAT", "PRE I ARE 3 =YOU", "NEWKEY")
    rules = (Rule("0 YOUR (* MOM DAD) 0 (/FAMILY)", answers), Rule("0", ("WHY",)))
    assert script == Script(
        "HOW DO YOU DO",
        (
            Key("DONT", becomes="DON'T"),
            Key("MOM", "MOTHER", 3, ("FAMILY", "NOUN"), rules, "DAD"),
            Key("DAD", link="MOM"),
        ),
        Memory(
            "MY",
            tuple(Rule(f"0 {w} 0", (f"{n} 3",)) for w, n in zip("ABCD", ("ONE", "TWO", "THREE", "FOUR"), strict=True)),
        ),
        ("GO ON", "AND THEN"),
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "or there is none"),
        ("(HELLO", "opened and not closed"),
        ("(HELLO))", "closed that was not opened"),
        ("(HELLO)", "needs NONE and MEMORY"),
        (SMALL.replace("(NONE", "(NOONE"), "needs NONE and MEMORY"),
        (SMALL + "WORD", "no place for 'WORD'"),
        (SMALL + "((0) (WHY))", "no place for"),
        (SMALL.replace("(0 D 0 = FOUR 3)", ""), "not enough values"),
        (SMALL.replace("= MOTHER 3", "= MOTHER X"), "invalid literal"),
    ],
)
def test_what_is_no_script(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse(text)


def test_doctor_is_whole():
    assert len(DOCTOR.keys) == 66
    assert sum(len(rule.reassemblies) for key in DOCTOR.keys for rule in key.rules) == 211
    assert DOCTOR.greeting == "HOW DO YOU DO. PLEASE TELL ME YOUR PROBLEM"
