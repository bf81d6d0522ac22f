"""Words for texts in scripts that write no blanks between them (Chinese, Japanese, Thai and others): each two letters that
stand together are one.

What is stored and what is asked for are made into words by the same rule, so that a word is found as a phrase of its pairs.
"""

import itertools
import re
import unicodedata
from typing import Final

_RUN: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u303f\u3040-\u30ff\u3100-\u31bf\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]+"
)


def has_runs(text: str) -> bool:
    """Whether a part of the text is in such a script."""
    return not text.isascii() and _RUN.search(text) is not None


def spaced(text: str) -> str:
    """The text with blanks between the pairs of letters of such scripts; all else stays."""
    return _RUN.sub(lambda run: f" {' '.join(pairs(run[0]))} ", text)


def pairs(run: str) -> list[str]:
    """The pairs of letters of a run, in order; the letter itself where it is alone. Marks (vowels, tones) are left out."""
    letters = [c for c in run if unicodedata.category(c)[0] in "LN"]
    return ["".join(two) for two in itertools.pairwise(letters)] or letters
