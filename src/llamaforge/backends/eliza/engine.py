"""How a remark is found: the last thing a person said is matched with the script, and what it takes up is turned round.

A block of `script.txt` is a pattern and its remarks. The first block whose pattern is found in what a person said is used,
so the order is that of importance. Patterns are regular expressions over one line, blind to case; ` *` is a phrase, which
stands in a remark as `{}` with its pronouns turned round. The remarks of a block are used in turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

NAME: Final = "I am Eliza, a small program without a language model, here until a model is connected."
OPENING: Final = "Hello. What is on your mind?"
SILENCE: Final = ("Take your time. I am listening.", "No hurry. A pause says something, too.")
ONLY_ENGLISH: Final = (
    "I follow English only. Can you put it that way?",
    "In English I could try. How would you say it?",
)

# When nothing else fits and the person spoke of something of their own before.
LOOKING_BACK: Final = (
    "Before, there was this: your {}. Does a thread lead from there to here?",
    "Let me return to something: your {}. How does it look to you now?",
    "One thing I kept: your {}. Did you mean to say more about it?",
)
# When nothing fits.
ANYTHING: Final = (
    "What makes that important to you?",
    "How did it come about?",
    "Go a step further: what happened then?",
    "What is the feeling that goes with it?",
    "Suppose a friend told you this. What would you ask next?",
    "Which word of what you just said matters most?",
)

LAST_CHARACTERS: Final = 500
"""How much of a message counts: its end."""

_LONGEST_PHRASE: Final = 120
_FLAGS: Final = re.IGNORECASE | re.MULTILINE

_UNSPEAKABLE = re.compile(r"[^\w\s'.,!?;:-]|_")
_BREAK = re.compile(r"\s*(?:[.!?;:,]+(?=\s|$)|\bbut\b|\n)\s*", re.IGNORECASE)
_BLANKS = re.compile(r"[^\S\n]+")
_OWN = re.compile(r"^(?:and |so |well |then )?my (?!name\b)(.+)", _FLAGS)
# What a phrase does without: the time, and a clause that begins another thought.
_TAIL = re.compile(
    r"\s+(?:(?:today|now|right now|lately|these days|at the moment|again|too|please)"
    r"|(?:because|since|although|and (?:i|he|she|it|we|they|my)|so (?:i|that))\b.*)$",
    re.IGNORECASE,
)

_OTHER_SIDE: Final = {
    "i": "you", "me": "you", "my": "your", "mine": "yours", "myself": "yourself", "am": "are", "i am": "you are",
    "i'm": "you're", "i was": "you were", "i've": "you've", "i'll": "you'll", "i'd": "you'd", "we": "you", "us": "you",
    "our": "your", "ours": "yours", "your": "my", "yours": "mine", "yourself": "myself", "you are": "I am",
    "you're": "I'm", "you were": "I was", "you've": "I've", "you'll": "I'll", "you'd": "I'd",
}  # fmt: skip
_PRONOUN = re.compile(rf"\b(?:{'|'.join(sorted(_OTHER_SIDE, key=len, reverse=True))}|you)(?![\w'])", re.IGNORECASE)
# After these, and at the beginning, "you" is who acts.
_BEFORE_SUBJECT = re.compile(
    r"(?:^|\b(?:that|if|when|because|and|or|what|how|why|than|think|know|hope|do|are|can|could|will|would|should))\s*$",
    re.IGNORECASE,
)


class Rule(NamedTuple):
    """A pattern of the script with its remarks."""

    pattern: re.Pattern[str]
    remarks: Sequence[str]


@cache
def script() -> tuple[Rule, ...]:
    """The rules of the script, the most important first. Read with the first answer."""
    text = Path(__file__).with_name("script.txt").read_text(encoding="utf-8")
    blocks = (block.split("\n- ") for block in text.strip().split("\n\n"))
    return tuple(Rule(re.compile(pattern.replace(" *", " (.+)"), _FLAGS), remarks) for pattern, *remarks in blocks)


def answer(turns: Sequence[str], last_remark: str = "", *, introduced: bool = False) -> str:
    """The remark on the last of a person's turns. The same arguments have the same answer.

    last_remark: what was answered to the turn before, if that is known; it is not said again. introduced: whether it was
    said before who answers.
    """
    if not turns:
        return f"{OPENING} {NAME}"
    lines = [_lines(turn) for turn in turns]
    remark = _remark(lines, last_remark)
    return remark if introduced or NAME[:30] in remark else f"{remark}\n\n{NAME}"


def _remark(lines: Sequence[str], last_remark: str) -> str:
    *earlier, said = lines
    if not said.strip():
        return _choose(SILENCE, len(earlier), "", last_remark)
    if not re.search("[a-z]", said, re.IGNORECASE):
        return _choose(ONLY_ENGLISH, len(earlier), "", last_remark)
    for rule in script():
        found = rule.pattern.search(said)
        if found:
            uses = sum(rule.pattern.search(turn) is not None for turn in earlier)
            phrase = next(filter(None, found.groups()), "")
            return _choose(rule.remarks, uses, phrase, last_remark)
    own = [found[1] for turn in earlier if (found := _OWN.search(turn))]
    count = len(earlier)
    if own and count % 2 == 0:
        return _choose(LOOKING_BACK, count // 2, own[count // 2 % len(own)], last_remark)
    return _choose(ANYTHING, count // 2 if own else count, "", last_remark)


def _choose(remarks: Sequence[str], number: int, phrase: str, last_remark: str) -> str:
    remark, following = (
        remarks[(number + step) % len(remarks)].replace("{}", other_side(phrase) or "that") for step in (0, 1)
    )
    return following if remark == last_remark else remark


def _lines(text: str) -> str:
    """What a person said, a clause a line, without what could break or hide the text that repeats it."""
    text = _BREAK.sub("\n", _UNSPEAKABLE.sub(" ", text[-LAST_CHARACTERS:].replace("’", "'")))
    text = _BLANKS.sub(" ", text)
    return text.lower() if text.isupper() and len(text) > len("OK IBM") else text


def other_side(phrase: str) -> str:
    """A phrase as the one who was spoken to says it: "my plan for you" is "your plan for me"."""
    phrase = _TAIL.sub("", phrase[:_LONGEST_PHRASE]).strip(" '-")

    def turned(found: re.Match[str]) -> str:
        word = found[0].lower()
        if word != "you":
            return _OTHER_SIDE[word]
        acts = found.end() < len(phrase) and _BEFORE_SUBJECT.search(phrase, 0, found.start())
        return "I" if acts else "me"

    return _PRONOUN.sub(turned, phrase)
