"""Answers out of the documentation: the section that a question is about, in its own words, with a link.

There is no index: the pages are some 300 KB, and to look for a word in all of them takes less than a millisecond.
"""

from __future__ import annotations

import itertools
import math
import posixpath
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from open_webui.utils.manual import READER

# Decisions and the changelog are read by who looks for them.
PAGES: Final = ("README.md", "docs/*.md", "docs/architecture/*.md")
_CONFIGURATION: Final = "docs/architecture/configuration.md"
# How near a page is to what people ask; the tutorials of the libraries are the farthest.
_NEARNESS: Final = {
    "docs/questions.md": 1.6,
    "docs/deployment.md": 1.2,
    "docs/troubleshooting.md": 1.2,
    "README.md": 1.1,
    _CONFIGURATION: 1.2,
}
_TUTORIALS: Final = frozenset({"docs/llamaforge.md", "docs/synthora.md", "docs/consciousness.md"})
_IN_HEADING: Final = 4
# The share of a question's words, rare ones counting more, that a section must have.
_ENOUGH: Final = 0.62
_LONGEST_QUESTION: Final = 300
_LONGEST_ANSWER: Final = 700

# Words that mean the same here. Each is a pattern, of questions and of pages alike. All that it may begin with are letters:
# then the regular expressions skip what can't match, and look through the pages ten times as fast.
_ALIKE: Final = (
    r"won't\b[^.?]{0,20}\bstart|not\b[^.?]{0,20}\bstart|doesn't\b[^.?]{0,20}\bstart|can'?n?o?t\b[^.?]{0,20}\bstart",
    r"get(?:ting)? started|got started|install\w*|requirements?",
    r"back(?:ing|ed)?[ -]?ups?|pg_dump",
    r"restor\w+",
    r"sign(?:ing|s)?[ -]up|regist(?:er|ration)\w*",
    r"sign(?:ing|s)?[ -]?(?:in|on)|log(?:ging|s)?[ -]?(?:in|on)s?",
    r"forgot\w*|forget|reset\w*|lost|los(?:e|es|ing)",
    r"approv\w+|let(?:ting)? (?:\w+ ){0,3}in|accept\w*|pending|wait\w*",
    r"admin|admins|administrators?",
    r"roll(?:ing)? back|downgrad\w+|go(?:ing)? back|way back",
    r"updat\w+|upgrad\w+|newe?r? (?:version|release)|latest (?:version|release)",
    r"https|tls|ssl|certificates?",
    r"prox(?:y|ies)|nginx|caddy|apache|traefik",
    r"deploy\w*|systemd|in production|as a service",
    r"settings?|config\w*|options?|variables?|preferences?",
    r"pictures?|images?|photos?|avatars?",
    r"chats?|conversations?",
    r"max|maximum|largest|longest|biggest|limits?|at most",
    r"seconds|timeouts?|how long",
    r"memory|ram",
    r"docker|containers?|kubernetes|helm",
    r"dark(?: mode| theme)?|themes?",
    r"stored?|stores|storing|located",
    r"shortcuts?|hotkeys?|keyboard",
    r"websockets?|sockets?",
    r"addres(?:s|ses)|urls?|endpoints?",
    r"rag|knowledge|documents?",
    r"speech|voice|audio|microphone",
    r"licen[cs]\w+",
    r"local(?:ly)?|this machine|own machine|my (?:machine|computer)|gguf",
    r"other (?:machines?|computers?|devices?)|network|lan|from outside|remotely",
    r"exports?|exporting|download\w*",
    r"th(?:is|e) server|my server|our server",
)
# The same of words that are about anything: alone they are no question for the documentation.
_ALIKE_ANYWHERE: Final = (
    r"people|persons?|users?|accounts?|members?|colleagues?|somebody|someone|everybody|everyone|team(?:mates?)?|famil(?:y|ies)",
    r"add|adding|added|creat\w+|invit\w+|mak(?:e|es|ing)",
    r"delet\w+|remov\w+|eras\w+",
    r"chang\w+|switch\w*|edit\w*|turn\w* (?:on|off)|disabl\w+|enabl\w+|hid(?:e|den)|allow\w*",
    r"see|show|shown|shows|appears?|visible",
    r"keeps?|kept|saved?|saves|saving",
    r"size|large|big|mb",
    r"stop(?:s|ped)?",
    r"start(?:s|ed)?",
    r"share[sd]?",
    r"keys?",
    r"names?",
)
_EMPTY: Final = frozenset(
    "a about again all am an and any anyone are as at be been by can could did do does for from get go going got had has have"
    " help here how i if in instead into is it its just know let like me mean much my need new no now of off on one or our out"
    " please put set should so some support take tell than that the their them then there these they thing this to up use used"
    " using want was way we were what when where which who why will with work works would yes you your explain find mine possible"
    " only program oui backend can't cannot don't doesn't won't isn't i'm i've i'd it's what's".split()
)
_ASKS = re.compile(
    r"\?|\bhow (?:to|do|can|does|is|are)\b|\bwhere (?:is|are|do|does|can)\b"
    r"|^\W*(?:how|what|where|when|which|why|who|can|could|is|are|do|does|may|must|will|explain|show|tell|help|find)\b"
    r"|\bi(?: have|'ve)? (?:forgot|forgotten|lost) .*\bpass|\bi (?:can't|cannot|can not)\b"
    r"|\bi(?:'d like| want| need| would like|'m trying| am trying) to\b"
)
# Whoever speaks like this wants to be heard.
_TALKS = re.compile(
    r"\b(?:feel\w*|felt|sad\w*|happy|unhappy|lonely|alone|afraid|angry|anxious|tired|love[sd]?|hates?|cry\w*|dream\w*|mother|father"
    r"|mom|mum|dad|think|with people|wife|husband|sister|brother|girlfriend|boyfriend|life|death|die|god|sorry|worr\w+|hurts?)\b"
)
_PERSONAL = re.compile(r"\b(?:i|i'm|my|me|you|your)\b")
_VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+\b")
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_ROW_NAMES = re.compile(r"`([A-Z][A-Z0-9_]+)`")


class Term(NamedTuple):
    """A word of a question, or those that mean the same. anywhere: it may be about anything."""

    pattern: re.Pattern[str]
    anywhere: bool


class Section(NamedTuple):
    """What stands under one heading, or one row of the tables of settings. page: its path from the manual's folder on."""

    page: str
    title: str
    anchor: str
    text: str

    @property
    def link(self) -> str:
        return f"[{self.title}]({READER}{self.page}#{self.anchor})"


class Manual:
    """The pages, read once. Reading them and looking something up take some milliseconds each."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError when a page can't be read."""
        self.sections: list[Section] = []
        for path in sorted(path for pattern in PAGES for path in folder.glob(pattern)):
            name = path.relative_to(folder).as_posix()
            self.sections += _sections(name, path.read_text(encoding="utf-8"))
        texts = [f"{each.title.replace('_', ' ')} {each.text}\n".lower() for each in self.sections]
        self._whole = "".join(texts)
        self._lengths = [len(text) for text in texts]
        self._starts = [0, *itertools.accumulate(self._lengths[:-1])]
        self._mean = len(self._whole) / max(1, len(texts))

    def answer(self, question: str) -> str | None:
        """The answer as Markdown; None for what is no question, or none that the documentation answers."""
        section = self.find(question)
        if section is None:
            return None
        return f"{_excerpt(section, _terms(question))}\n\nFrom the documentation: {section.link}"

    def find(self, question: str) -> Section | None:
        """The section that answers a question."""
        if not asks(question):
            return None
        named = set(_VARIABLE.findall(question))
        for section in self.sections if named else ():
            if not named.isdisjoint(section.title.split()):
                return section
        terms = _terms(question)
        return self._best(terms) if terms else None

    def _best(self, terms: Sequence[Term]) -> Section | None:
        """BM25 over the sections, of which a heading counts more, and the nearness of their pages."""
        found = [self._found(term) for term in terms]
        weights = [math.log(1 + (len(self.sections) - len(those) + 0.5) / (len(those) + 0.5)) for those in found]
        best, most = None, 0.0
        for at in set().union(*found):
            here = [
                (term, weight, *those[at])
                for term, weight, those in zip(terms, weights, found, strict=True)
                if at in those
            ]
            section = self.sections[at]
            if sum(weight for _, weight, _, _ in here) < _ENOUGH * sum(weights) or not _is_about(section, here):
                continue
            norm = 1.2 * (0.4 + 0.6 * self._lengths[at] / self._mean)
            score = 0.0
            for _, weight, count, named in here:
                frequency = count + _IN_HEADING * named
                score += weight * frequency * 2.2 / (frequency + norm)
            score *= 0.5 if section.page in _TUTORIALS else _NEARNESS.get(section.page, 1.0)
            if score > most or (score == most and best is not None and at < best):
                best, most = at, score
        return None if best is None else self.sections[best]

    def _found(self, term: Term) -> dict[int, tuple[int, bool]]:
        """How often each section has a term, and whether its heading has it."""
        found: dict[int, tuple[int, bool]] = {}
        for hit in _hits(term.pattern, self._whole):
            start = hit.start()
            at = bisect_right(self._starts, start) - 1
            count, named = found.get(at, (0, False))
            found[at] = (count + 1, named or start < self._starts[at] + len(self.sections[at].title))
        return found


def _is_about(section: Section, here: Sequence[tuple[Term, float, int, bool]]) -> bool:
    """Whether the heading says so: by a word that is not about anything, or by two. A setting's name says little."""
    named = [term for term, _, _, in_heading in here if in_heading]
    if not all(term.anywhere for term in named):
        return True
    if section.page != _CONFIGURATION:
        return len(named) >= 2
    telling = sum(not term.anywhere for term, _, _, _ in here)
    return telling > 0 and len(named) + telling >= 2


def _hits(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Where a pattern is found at the beginning of a word."""
    for found in pattern.finditer(text):
        start = found.start()
        if not start or not (text[start - 1].isalnum() or text[start - 1] == "_"):
            yield found


def asks(text: str) -> bool:
    """Whether a text may be a question to the documentation. Takes microseconds, and needs no pages."""
    if len(text) > _LONGEST_QUESTION:
        return False
    words = text.lower().replace("’", "'")
    if _TALKS.search(words) and not _VARIABLE.search(text):
        return False
    short = len(words.split()) <= 3 and not _PERSONAL.search(words)
    return bool(short or _ASKS.search(words) or _VARIABLE.search(text))


@cache
def _same() -> list[Term]:
    patterns = (*_ALIKE, *_ALIKE_ANYWHERE)
    return [Term(re.compile(rf"(?:{pattern})\b"), at >= len(_ALIKE)) for at, pattern in enumerate(patterns)]


def _terms(question: str) -> list[Term]:
    """What a question is about."""
    words = question.lower().replace("’", "'")
    terms = []
    for term in _same():
        hits = list(_hits(term.pattern, words))
        if hits:
            terms.append(term)
        for hit in reversed(hits):
            words = f"{words[: hit.start()]} {words[hit.end() :]}"
    for word in dict.fromkeys(re.findall(r"[^\W_]+(?:[._'-][^\W_]+)*", words)):
        if word not in _EMPTY and (len(word) > 1 or word.isdigit()):
            stem = re.escape(re.sub(r"(?<=\w{3})(?:ing|ed|s|ly|'s)$", "", word))
            terms.append(Term(re.compile(rf"{stem}\w{{0,4}}\b" if len(stem) > 3 else rf"{stem}s?\b"), anywhere=False))
    return terms


def _sections(page: str, text: str) -> Iterator[Section]:
    """The sections of a page; code, which may hold lines like headings, is left in them."""
    title, lines, in_code = page, list[str](), False
    for line in [*text.splitlines(), "# "]:
        in_code ^= line.startswith("```")
        if in_code or not line.startswith("#"):
            lines.append(line)
            continue
        if page == _CONFIGURATION:
            yield from (setting for row in lines if (setting := _setting(page, row)))
            lines = [row for row in lines if not _setting(page, row)]
        body = "\n".join(lines).strip()
        if body:
            yield Section(page, title, anchor(title), body)
        title, lines = line.lstrip("# "), []


def _setting(page: str, row: str) -> Section | None:
    """A row of a table of settings, if it is one."""
    cells = [cell.strip() for cell in row.strip("| ").split(" | ")]
    names = [name for cell in cells[:2] for name in _ROW_NAMES.findall(cell)] if row.startswith("| `") else []
    if not names:
        return None
    default = f" Default: {cells[-2]}." if len(cells) > 2 and cells[-2].startswith("`") else ""
    key = f" ({cells[0]} in the page's settings)" if not _ROW_NAMES.match(cells[0]) else ""
    text = f"{', '.join(f'`{name}`' for name in names)}{key}: {cells[-1]}.{default}"
    return Section(page, " ".join(names), names[0], text)


def anchor(title: str) -> str:
    """The name of a heading in addresses, as Git hosts make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _excerpt(section: Section, terms: Sequence[Term]) -> str:
    """The paragraph that has most of a question's words, or rows of a table, with links that lead from here."""
    blocks = [block for block in _CODE.sub("", section.text).split("\n\n") if block.strip()] or [section.text]
    chosen = max(blocks, key=lambda block: sum(_has(term, block) for term in terms))
    if chosen.startswith("|"):
        chosen = _rows(chosen, terms)
    elif len(chosen) > _LONGEST_ANSWER:
        chosen = chosen[: chosen.rfind(". ", 0, _LONGEST_ANSWER) + 1] or f"{chosen[:_LONGEST_ANSWER]}…"

    def led(found: re.Match[str]) -> str:
        path, _, mark = found[1].partition("#")
        page = posixpath.normpath(posixpath.join(posixpath.dirname(section.page), path)) if path else section.page
        return f"]({READER}{page}{'#' + mark if mark else ''})"

    return re.sub(r"\]\((?!\w+:)([^)\s]+)\)", led, chosen)


def _has(term: Term, text: str) -> bool:
    return next(_hits(term.pattern, text.lower()), None) is not None


def _rows(table: str, terms: Sequence[Term]) -> str:
    """The head of a table and the three of its rows that have most of the words, those of few rows counting more."""
    head, rule, *rows = table.split("\n")
    having = [{row for row in rows if _has(term, row)} for term in terms]
    rows.sort(key=lambda row: -sum(1 / len(those) for those in having if row in those))
    return "\n".join([head, rule, *rows[:3]])
