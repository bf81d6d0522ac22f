"""Between a person's text and the program's words: reading sentences into words, writing words as prose."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Word(NamedTuple):
    """A word as the program compares it, in capitals, and as it is written in running text."""

    key: str
    text: str

    @property
    def is_break(self) -> bool:
        """Whether a clause ends here. That BUT does is in the program's listing, not in the paper."""
        return self.key in _BREAKS or self.key == "BUT"


_BREAKS = frozenset(".,?!;:…()[]{}—–。，、？！；：؟،؛।")
_SENTENCE_ENDS = frozenset(".?!…。？！؟।")

# One character decides each match, so the time is linear whatever is typed. Points inside numbers stay.
_BREAK = re.compile(r"(?<![0-9])[.,:]|[.,:](?![0-9])|[?!;…()\[\]{}—–。，、？！；：؟،؛।]")
# Marks of markup and quotation, control characters, lone surrogates and what reorders or hides text.
_NOISE = re.compile(
    '["#*<=>\\\\^_`|~“”„«»¿¡'
    "\\x00-\\x1f\\x7f-\\x9f\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff\\ud800-\\udfff]"
)
_APOSTROPHES = str.maketrans("’‘ʼ＇`´", "''''''")

_FIRST_PERSON = frozenset(("i", "i'm", "i've", "i'd", "i'll"))
# The teletype's spellings, mended where the answer is written as prose.
_MENDED = {"LETS": "let's", "ITS": "it's", "ELSES": "else's", "APOLIGIZE": "apologize", "ENGLISH": "English"}

_QUESTION_OPENERS = frozenset(
    "ARE CAN CAN'T COULD DID DO DOES DON'T HAS HAVE HOW IN IS OF REALLY SHOULD SURELY".split()
    + "WERE WHAT WHEN WHO WHY WOULD".split()
)


def read_words(text: str) -> list[Word]:
    """The words and breaks of what a person typed."""
    shouted = text.upper() == text and any(map(str.islower, text.lower()))
    cleaned = _NOISE.sub(" ", text.translate(_APOSTROPHES))
    words: list[Word] = []
    opens_sentence = True
    for raw in _BREAK.sub(r" \g<0> ", cleaned).split():
        if raw in _BREAKS:
            words.append(Word(raw, raw))
            opens_sentence = opens_sentence or raw in _SENTENCE_ENDS
            continue
        bare = raw.strip("'-")
        if bare:
            ordinary = shouted or (opens_sentence and bare[1:] == bare[1:].lower())
            words.append(Word(_key(bare), _typed(bare, lower=ordinary)))
            opens_sentence = False
    return words


def script_word(token: str) -> Word:
    """A word of the script, whose capitals are the teletype's and not a matter of spelling."""
    return Word(token, _MENDED.get(token) or _typed(token, lower=True))


def is_question(template: str) -> bool:
    """Whether a reassembly asks: its last sentence, or a clause of it, opens as a question does."""
    sentence = template.rpartition(". ")[2]
    clauses = sentence.replace(" - ", ", ").split(", ")
    asks = any(clause.split(" ", 1)[0] in _QUESTION_OPENERS for clause in clauses)
    return asks or sentence.endswith(("DON'T YOU", "PERHAPS"))


def write_teletype(words: Iterable[Word]) -> str:
    """The words as the machine of 1966 typed them: capitals, and no mark at the end."""
    return " ".join(word.key for word in words)


def write_prose(words: Sequence[Word], *, question: bool) -> str:
    """The words as a written sentence with its capital and its mark."""
    pieces: list[str] = []
    quoted = after_quote = False
    for word in words:
        if word.key == "'":
            quoted = not quoted
            after_quote = quoted
            pieces.append(" '" if quoted else "'")
        else:
            pieces.append(word.text if after_quote or not pieces else f" {word.text}")
            after_quote = False
    sentences = "".join(pieces).strip(" ,-").split(". ")
    prose = ". ".join(sentence[:1].upper() + sentence[1:] for sentence in sentences)
    return prose + ("?" if question else ".")


def _key(word: str) -> str:
    """The word in capitals, and without the accents that a teletype could not print."""
    upper = word.upper()
    if upper.isascii():
        return upper
    plain = "".join(filter(str.isascii, unicodedata.normalize("NFD", upper)))
    return plain if len(plain) == len(unicodedata.normalize("NFC", upper)) else upper


def _typed(word: str, *, lower: bool) -> str:
    lowered = word.lower()
    if lowered in _FIRST_PERSON:
        return "I" + lowered[1:]
    return lowered if lower else word
