"""ELIZA scripts: keywords and their rules as data, apart from the program that plays them, and how they are written.

The terms are those of J. Weizenbaum, "ELIZA - A Computer Program For the Study of Natural Language Communication
Between Man And Machine", Communications of the ACM 9(1), January 1966, pp. 36-45.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

_Item: TypeAlias = "str | list[_Item]"
_TOKEN: Final = r"[()]|[^()\s]+"


class Rule(NamedTuple):
    """A decomposition of the sentence and the reassemblies that answer it, used in turn.

    The decomposition is words, where `0` stands for any number of words, `3` for exactly three, `(* A B)` for one of
    these and `(/TAG)` for one so tagged. A reassembly is a sentence in which `4` stands for what the fourth element
    of the decomposition matched; or `=KEY`, to answer as that keyword would; or `PRE sentence =KEY`, to do so with
    the sentence put in place of the user's; or `NEWKEY`, to let the next keyword of the sentence answer.
    """

    decomposition: str
    reassemblies: tuple[str, ...]


class Key(NamedTuple):
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


class Memory(NamedTuple):
    """What is said later about a sentence whose first keyword was `word`: four rules of one reassembly each."""

    word: str
    rules: tuple[Rule, Rule, Rule, Rule]


class Script(NamedTuple):
    """A whole script. `none` is said in turn when no keyword is found and no memory is due."""

    greeting: str
    keys: tuple[Key, ...]
    memory: Memory
    none: tuple[str, ...]


def doctor() -> Script:
    """Weizenbaum's DOCTOR. Reads its file anew each time."""
    return parse(Path(__file__).with_name("doctor.script").read_text(encoding="ascii"))


def parse(text: str) -> Script:
    """A script in the notation of the paper: lists in parentheses, the greeting first, the keywords, NONE and MEMORY.

    A line that opens with a semicolon is a comment. Raises ValueError for what is no script.
    """
    greeting, *entries = _lists("\n".join(line for line in text.splitlines() if not line.startswith(";")))
    keys: list[Key] = []
    none: tuple[str, ...] = ()
    memory: Memory | None = None
    for entry in entries:
        match entry:
            case ["NONE", [_, *sentences]]:
                none = tuple(map(_words, sentences))
            case ["MEMORY", str(word), *rules]:
                first, second, third, fourth = (Rule(*_halves(_words(rule))) for rule in rules)
                memory = Memory(word, (first, second, third, fourth))
            case [str(word), *rest]:
                keys.append(_key(word, rest))
            case _:
                raise ValueError(f"A script has no place for {_words(entry)!r}.")
    if memory is None or not none:
        raise ValueError("A script needs NONE and MEMORY.")
    return Script(_words(greeting), tuple(keys), memory, none)


def _key(word: str, rest: list[_Item]) -> Key:
    """A keyword of `= SUBSTITUTE`, a rank, `DLIST(/TAG ...)`, rules of lists and the link `(=KEYWORD)`, each where it is."""
    becomes = link = None
    rank, rules = 0, list[Rule]()
    tags: tuple[str, ...] = ()
    items = iter(rest)
    for item in items:
        match item:
            case "=":
                becomes = _words([next(items)])
            case "DLIST":
                tags = tuple(_words(next(items)).removeprefix("/").split())
            case str(number):
                rank = int(number)
            case [str(target)]:
                link = target.removeprefix("=")
            case [decomposition, *reassemblies]:
                rules.append(Rule(_words(decomposition), tuple(map(_reassembly, reassemblies))))
    return Key(word, becomes, rank, tags, tuple(rules), link)


def _reassembly(item: _Item) -> str:
    return f"PRE {_words(item[1])} {_words(item[2])}" if item[0] == "PRE" else _words(item)


def _halves(text: str) -> tuple[str, tuple[str]]:
    decomposition, _, reassembly = text.partition(" = ")
    return decomposition, (reassembly,)


def _words(item: _Item) -> str:
    """A list as it is written, without its own parentheses."""
    return item if isinstance(item, str) else " ".join(i if isinstance(i, str) else f"({_words(i)})" for i in item)


def _lists(text: str) -> list[_Item]:
    """What stands in parentheses as lists of words and lists. Raises ValueError where these don't pair."""
    found: list[_Item] = []
    open_lists = [found]
    for token in re.findall(_TOKEN, text):
        if token == "(":
            inner: list[_Item] = []
            open_lists[-1].append(inner)
            open_lists.append(inner)
        elif token != ")":
            open_lists[-1].append(token)
        elif len(open_lists) > 1:
            open_lists.pop()
        else:
            raise ValueError("A parenthesis is closed that was not opened.")
    if len(open_lists) > 1 or not found:
        raise ValueError("A parenthesis is opened and not closed, or there is none.")
    return found
