"""The form of an ELIZA script: keywords and their rules as data, apart from the program that plays them.

The terms are those of J. Weizenbaum, "ELIZA - A Computer Program For the Study of Natural Language Communication
Between Man And Machine", Communications of the ACM 9(1), January 1966, pp. 36-45.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A decomposition of the sentence and the reassemblies that answer it, used in turn.

    The decomposition is words, where `0` stands for any number of words, `3` for exactly three, `(* A B)` for one of
    these and `(/TAG)` for one so tagged. A reassembly is a sentence in which `4` stands for what the fourth element
    of the decomposition matched; or `=KEY`, to answer as that keyword would; or `PRE sentence =KEY`, to do so with
    the sentence put in place of the user's; or `NEWKEY`, to let the next keyword of the sentence answer.
    """

    decomposition: str
    reassemblies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """A word the program knows: what replaces it, how it ranks, its tags and its rules.

    `link` names the keyword that answers when no rule fits. A key with neither rules nor link is only a substitution
    or a tag and never selects an answer.
    """

    word: str
    becomes: str | None = None
    rank: int = 0
    tags: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What is said later about a sentence whose first keyword was `word`: four rules of one reassembly each."""

    word: str
    rules: tuple[Rule, Rule, Rule, Rule]


@dataclass(frozen=True, slots=True)
class Script:
    """A whole script. `none` is said in turn when no keyword is found and no memory is due."""

    greeting: str
    keys: tuple[Key, ...]
    memory: Memory
    none: tuple[str, ...]
