"""How much work a grammar in llama.cpp's notation (GBNF) makes, found out before an engine reads it.

An engine writes repetitions out, and at each place of an answer follows all ways through the rules to the next character. A
grammar of a few lines can have more such ways than memory. So both are counted here, as far as a bound.
"""

from __future__ import annotations

import re
from typing import Final

from llamaforge.exceptions import ParameterError

MAX_LENGTH: Final = 64_000  # characters
# Brackets open at once, whatever their kind.
MAX_BRACKETS: Final = 100
# Items when repetitions are written out; ways from one place to the next character, and through what may be empty.
MAX_ITEMS: Final = 100_000
MAX_WAYS: Final = 1_000
_STEP: Final = re.compile(
    r'"(?:[^"\\\n]|\\.)*"|\[(?:[^\]\\\n]|\\.)*\]|#[^\n]*|\{\s*\d*\s*,?\s*\d*\s*\}|[\w-]+\s*::=|[\w-]+|[()|?*+]|[^\s()|?*+]'
)
_NAME: Final = re.compile(r"[\w-]+")
# Of a part: the characters and rules that are looked at for its next character, the ways through it without any, its items.
_Part = tuple[int, int, int]
_EMPTY: Final[_Part] = (0, 1, 0)


def check_grammar(grammar: str) -> None:
    """Raises ParameterError for a grammar that an engine can't be asked to read."""
    if len(grammar) > MAX_LENGTH:
        raise ParameterError(f"The grammar is longer than {MAX_LENGTH:,} characters.")
    depth = 0
    for sign in grammar:
        if sign in "([{":
            depth += 1
            if depth > MAX_BRACKETS:
                raise ParameterError(f"The grammar has more than {MAX_BRACKETS} brackets open at once.")
        elif sign in ")]}":
            depth = max(0, depth - 1)
    if grammar.startswith("%llguidance"):
        # Another notation, of an engine that follows all ways together.
        return
    ways, items = _work(grammar)
    if items > MAX_ITEMS:
        raise ParameterError(f"The repetitions of the grammar make more than {MAX_ITEMS:,} items of it.")
    if ways > MAX_WAYS:
        raise ParameterError(
            f"The grammar has more than {MAX_WAYS:,} ways from one character to the next; let rules begin with different texts."
        )


def _work(grammar: str) -> tuple[int, int]:
    """The most ways that a rule has, and the items of all."""
    rules: dict[str, list[str]] = {}
    steps: list[str] = []
    for step in _STEP.findall(grammar):
        if step.endswith("::="):
            steps = rules.setdefault(step[:-3].rstrip(), [])
        elif step[0] != "#":
            steps.append(step)
    known: dict[str, _Part] = {}
    for name in _in_order(rules):
        known[name] = _rule(rules[name], known)
    most = max((max(ways, empty) for ways, empty, _ in known.values()), default=0)
    return most, sum(items for _, _, items in known.values())


def _in_order(rules: dict[str, list[str]]) -> list[str]:
    """The rules, each after those it names, as far as they do not name each other."""
    ordered: list[str] = []
    seen: set[str] = set()
    for root in rules:
        rest = [(root, False)]
        while rest:
            name, is_left = rest.pop()
            if is_left:
                ordered.append(name)
            elif name not in seen:
                seen.add(name)
                rest.append((name, True))
                rest.extend((step, False) for step in rules[name] if step in rules and step not in seen)
    return ordered


def _rule(steps: list[str], known: dict[str, _Part]) -> _Part:
    # Of each open bracket: the alternatives before, what stands before it in its own.
    open_: list[tuple[_Part, _Part]] = []
    either: _Part = (0, 0, 0)
    before, last = _EMPTY, _EMPTY
    for step in steps:
        if step == "(":
            open_.append((either, _then(before, last)))
            either, before, last = (0, 0, 0), _EMPTY, _EMPTY
        elif step == ")":
            whole = _or(either, _then(before, last))
            either, before = open_.pop() if open_ else ((0, 0, 0), _EMPTY)
            last = whole
        elif step == "|":
            either, before, last = _or(either, _then(before, last)), _EMPTY, _EMPTY
        elif step[0] in "?*+{":
            last = _repeated(last, step)
        else:
            before, last = _then(before, last), _leaf(step, known)
    return _or(either, _then(before, last))


def _leaf(step: str, known: dict[str, _Part]) -> _Part:
    if step in ('""', "[]"):
        return (0, 1, 1)
    if _NAME.fullmatch(step):
        # A rule that is not known yet leads back here: an engine refuses it where nothing stands before it.
        ways, empty, _ = known.get(step, (1, 0, 1))
        return _bounded(ways + 1, empty, 1)
    return (1, 0, max(1, len(step) - 2) if step[0] == '"' else 1)


def _then(first: _Part, second: _Part) -> _Part:
    return _bounded(first[0] + first[1] * second[0], first[1] * second[1], first[2] + second[2])


def _or(first: _Part, second: _Part) -> _Part:
    return _bounded(first[0] + second[0], first[1] + second[1], first[2] + second[2])


def _repeated(part: _Part, how: str) -> _Part:
    if how[0] != "{":
        return part if how == "+" else _bounded(part[0], part[1] + 1, part[2])
    numbers = [int(number) for number in re.findall(r"\d{1,9}", how)]
    least = numbers[0] if numbers and how[1:].lstrip()[:1] != "," else 0
    repeated = _EMPTY
    for _ in range(min(least, MAX_WAYS + 1) if part[1] else min(least, 1)):
        repeated = _then(repeated, part)
    if least == 0:
        repeated = _bounded(part[0], part[1] + 1, 0)
    return _bounded(repeated[0], repeated[1], part[2] * max([1, *numbers]))


def _bounded(ways: int, empty: int, items: int) -> _Part:
    return min(ways, MAX_WAYS + 1), min(empty, MAX_WAYS + 1), min(items, MAX_ITEMS + 1)
