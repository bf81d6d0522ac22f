"""The ELIZA program: plays any script, one sentence after another, after Weizenbaum's paper of 1966.

What the paper leaves open is taken from the program's listing of 1965, which his estate put in the public domain:
that BUT ends a clause, that a memory is recalled when a count of the turns that runs from 1 to 4 stands at 4, which
of the four memory rules is used (a hash of the sentence's last word), and what is said when no rule fits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from llamaforge.backends.eliza.language import Word, is_question, read_words, script_word

if TYPE_CHECKING:
    from llamaforge.backends.eliza.script import Rule, Script

_NO_RULE_FITS = ("PLEASE CONTINUE", "HMMM", "GO ON, PLEASE", "I SEE")
# Links of a script may form a ring; the longest way through DOCTOR is four steps a keyword.
_MOST_STEPS = 500
# The character codes of the IBM 7094: a character's place in this table; `~` stands for the unused ones.
_BCD = "0123456789~='~~~+ABCDEFGHI~.)~~~-JKLMNOPQR~$*~~~ /STUVWXYZ~,(~~~"


class Reply(NamedTuple):
    """An answer in words, and whether it asks."""

    words: tuple[Word, ...]
    question: bool


class Say(NamedTuple):
    """Answer with these words, where a number stands for a part of the sentence."""

    parts: tuple[Word | int, ...]
    question: bool = False


class Link(NamedTuple):
    """Answer as another keyword would, with the sentence rewritten if `rewrite` says how."""

    key: str
    rewrite: Say | None = None


class NewKey(NamedTuple):
    """Leave the answer to the next keyword."""


Action = Say | Link | NewKey
Element = int | frozenset[str]
Parts = tuple[slice, ...]


class Pattern:
    """A decomposition, matched in one pass: what stands between two runs is sought once, leftmost, and never again.

    The earliest place for one stretch leaves most room for the next, so nothing is gained by trying another; only the
    last stretch has its place given, the end. That makes runs as short as can be, from left to right, and the time
    linear in the sentence.
    """

    __slots__ = ("_inner", "_needed", "_stretches")

    def __init__(self, decomposition: str, tagged: Mapping[str, frozenset[str]]) -> None:
        stretches: list[list[Element]] = [[]]
        for element in _elements(decomposition, tagged):
            if element == 0:
                stretches.append([])
            else:
                stretches[-1].append(element)
        self._stretches = [_Stretch(tuple(stretch)) for stretch in stretches]
        self._inner = self._stretches[1:-1]
        self._needed = [words for stretch in stretches for words in stretch if isinstance(words, frozenset)]

    @property
    def size(self) -> int:
        """How many parts a match has."""
        return sum(len(stretch.elements) for stretch in self._stretches) + len(self._stretches) - 1

    def match(self, keys: Sequence[str], known: frozenset[str]) -> Parts | None:
        """The part each element matches, or None. `known` is the set of `keys`."""
        if any(words.isdisjoint(known) for words in self._needed):
            return None
        first, last = self._stretches[0], self._stretches[-1]
        if not first.fits(keys, 0):
            return None
        parts = first.parts(0)
        at = first.width
        if first is last:
            return tuple(parts) if at == len(keys) else None
        for stretch in self._inner:
            found = stretch.find(keys, at)
            if found is None:
                return None
            parts += [slice(at, found), *stretch.parts(found)]
            at = found + stretch.width
        end = len(keys) - last.width
        if end < at or not last.fits(keys, end):
            return None
        return (*parts, slice(at, end), *last.parts(end))


class _Stretch:
    """The elements between two runs of any length: words and runs of a given length."""

    __slots__ = ("elements", "width")

    def __init__(self, elements: tuple[Element, ...]) -> None:
        self.elements = elements
        self.width = sum(element if isinstance(element, int) else 1 for element in elements)

    def fits(self, keys: Sequence[str], at: int) -> bool:
        """Whether it matches at this place."""
        if at + self.width > len(keys):
            return False
        for element in self.elements:
            if isinstance(element, int):
                at += element
            elif keys[at] in element:
                at += 1
            else:
                return False
        return True

    def find(self, keys: Sequence[str], start: int) -> int | None:
        """The first place from `start` on where it matches."""
        for at in range(start, len(keys) - self.width + 1):
            if self.fits(keys, at):
                return at
        return None

    def parts(self, at: int) -> list[slice]:
        """What each element matches at this place."""
        found = []
        for element in self.elements:
            end = at + (element if isinstance(element, int) else 1)
            found.append(slice(at, end))
            at = end
        return found


class _CompiledRule(NamedTuple):
    pattern: Pattern
    actions: tuple[Action, ...]


class Program:
    """A script made ready to be played: patterns and answers parsed and checked, once, for any number of talks.

    Raises ValueError when a script names a keyword it does not have or a part its decomposition does not have.
    """

    def __init__(self, script: Script) -> None:
        tagged: dict[str, frozenset[str]] = {}
        for key in script.keys:
            for tag in key.tags:
                tagged[tag] = tagged.get(tag, frozenset()) | {key.word}
        self.substitutes = {key.word: script_word(key.becomes) for key in script.keys if key.becomes}
        self.rules: dict[str, tuple[_CompiledRule, ...]] = {}
        self.ranks: dict[str, int] = {}
        anything = Pattern("0", tagged)
        for key in script.keys:
            rules = [_compile_rule(rule, tagged) for rule in key.rules]
            if key.link is not None:
                rules.append(_CompiledRule(anything, (Link(key.link),)))
            if rules:
                self.rules[key.word] = tuple(rules)
                self.ranks[key.word] = key.rank
        self.memory_word = script.memory.word
        self.memory = tuple(_compile_rule(rule, tagged) for rule in script.memory.rules)
        self.none = _CompiledRule(anything, tuple(_parse_say(sentence, anything) for sentence in script.none))
        self.greeting = _assemble(_parse_say(script.greeting, anything), [], ())
        self._check_links()

    def _check_links(self) -> None:
        for word, rules in self.rules.items():
            for rule in rules:
                for action in rule.actions:
                    if isinstance(action, Link) and action.key not in self.rules:
                        raise ValueError(f"The rules of {word} link to {action.key}, which has none.")


class Conversation:
    """One talk with the program. The same sentences in the same order get the same answers."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._count = 1
        self._turns: dict[int, int] = {}
        self._memories: deque[Reply] = deque()

    def respond(self, text: str) -> Reply:
        """The answer to the next thing a person says."""
        self._count = self._count % 4 + 1
        words, stack = self._scan(read_words(text))
        if not stack:
            if self._count == 4 and self._memories:
                return self._memories.popleft()
            return self._nothing_found(words)
        if stack[0] == self._program.memory_word:
            self._remember(words)
        return self._answer(words, stack)

    def _scan(self, typed: Sequence[Word]) -> tuple[list[Word], deque[str]]:
        """The one clause that is answered, substitutions made, and its keywords, the one to answer first.

        That is the first clause with a keyword in it. A keyword that outranks all before it goes on top, any other
        to the bottom; a word that comes again counts once.
        """
        program = self._program
        words: list[Word] = []
        stack: deque[str] = deque()
        highest = 0
        for word in typed:
            if word.is_break:
                if stack:
                    break
                words.clear()
                continue
            rank = program.ranks.get(word.key)
            if rank is not None and word.key not in stack:
                if rank > highest:
                    highest = rank
                    stack.appendleft(word.key)
                else:
                    stack.append(word.key)
            words.append(program.substitutes.get(word.key, word))
        return words, stack

    def _answer(self, words: list[Word], stack: deque[str]) -> Reply:
        for _ in range(_MOST_STEPS):
            if not stack:
                return self._nothing_found(words)
            keys = [word.key for word in words]
            known = frozenset(keys)
            action, parts = self._choose(self._program.rules[stack.popleft()], keys, known)
            match action:
                case Say():
                    return _assemble(action, words, parts)
                case Link(key, rewrite):
                    if rewrite is not None:
                        words = list(_assemble(rewrite, words, parts).words)
                    stack.appendleft(key)
                case NewKey():
                    continue
                case None:
                    break
        return _fixed(_NO_RULE_FITS[self._count - 1])

    def _choose(
        self, rules: Sequence[_CompiledRule], keys: Sequence[str], known: frozenset[str]
    ) -> tuple[Action | None, Parts]:
        """What the first rule that fits says this time, and the parts it found."""
        for rule in rules:
            parts = rule.pattern.match(keys, known)
            if parts is not None:
                return self._next(rule), parts
        return None, ()

    def _next(self, rule: _CompiledRule) -> Action:
        turn = self._turns.get(id(rule), 0)
        self._turns[id(rule)] = turn + 1
        return rule.actions[turn % len(rule.actions)]

    def _nothing_found(self, words: list[Word]) -> Reply:
        action = self._next(self._program.none)
        parts = (slice(0, len(words)),)
        return _assemble(action, words, parts) if isinstance(action, Say) else _fixed(_NO_RULE_FITS[0])

    def _remember(self, words: list[Word]) -> None:
        """Lay down what may be said of this sentence later."""
        keys = [word.key for word in words]
        rule = self._program.memory[slip_hash(keys[-1], 2)]
        parts = rule.pattern.match(keys, frozenset(keys))
        action = rule.actions[0]
        if parts is not None and isinstance(action, Say):
            self._memories.append(_assemble(action, words, parts))


def slip_hash(word: str, bits: int) -> int:
    """The HASH function of Weizenbaum's SLIP library, of the cell that holds the end of `word`: 0 to 2**bits - 1.

    A cell holds six characters of six bits, padded with blanks. Its lower 35 bits are squared and the middle of the
    product is the hash. Characters the machine did not have count by their code point.
    """
    cell = word[(len(word) - 1) // 6 * 6 :].ljust(6)
    datum = 0
    for character in cell[:6]:
        code = _BCD.find(character)
        datum = datum << 6 | (code if code >= 0 else ord(character) & 0o77)
    square = (datum & (1 << 35) - 1) ** 2
    return square >> 35 - bits // 2 & (1 << bits) - 1


def _compile_rule(rule: Rule, tagged: Mapping[str, frozenset[str]]) -> _CompiledRule:
    pattern = Pattern(rule.decomposition, tagged)
    return _CompiledRule(pattern, tuple(_parse_action(text, pattern) for text in rule.reassemblies))


def _parse_action(text: str, pattern: Pattern) -> Action:
    if text == "NEWKEY":
        return NewKey()
    if text.startswith("="):
        return Link(text[1:].strip())
    if text.startswith("PRE "):
        sentence, _, key = text[4:].partition("=")
        return Link(key.strip(), _parse_say(sentence, pattern))
    return _parse_say(text, pattern)


def _parse_say(text: str, pattern: Pattern) -> Say:
    parts: list[Word | int] = []
    for token in text.split():
        if token.isdecimal():
            if not 1 <= int(token) <= pattern.size:
                raise ValueError(f"'{text}' names part {token} of a decomposition of {pattern.size}.")
            parts.append(int(token))
        else:
            parts.append(script_word(token))
    if not any(isinstance(part, Word) for part in parts):
        raise ValueError(f"'{text}' has no word of its own, so it could be empty.")
    return Say(tuple(parts), is_question(text.strip()))


def _elements(decomposition: str, tagged: Mapping[str, frozenset[str]]) -> list[Element]:
    """Words and numbers of a decomposition, with its lists of alternatives and tags resolved to sets of words."""
    elements: list[Element] = []
    for piece in decomposition.replace(")", "(").split("("):
        mark, rest = piece[:1], piece[1:].split()
        if mark == "*":
            elements.append(frozenset(rest))
        elif mark == "/":
            elements.append(frozenset().union(*(tagged[tag] for tag in rest)))
        else:
            elements += [int(token) if token.isdecimal() else frozenset((token,)) for token in piece.split()]
    return elements


def _assemble(say: Say, words: Sequence[Word], parts: Parts) -> Reply:
    spoken: list[Word] = []
    for part in say.parts:
        if isinstance(part, int):
            spoken += words[parts[part - 1]]
        else:
            spoken.append(part)
    return Reply(tuple(spoken), say.question)


def _fixed(text: str) -> Reply:
    return Reply(tuple(script_word(token) for token in text.split()), question=False)
