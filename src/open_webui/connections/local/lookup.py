"""Answers out of the documentation: the section that a question is about, in its own words, with a link.

There is no index: the pages are some 300 KB, and to look for a word in all of them takes less than a millisecond.
"""

from __future__ import annotations

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

# Words that mean the same here. Each is a pattern, of questions and of pages alike.
_ALIKE: Final = (
    r"(?:won't|not|doesn't|can't|cannot)\b[^.?]{0,20}\bstart",
    r"(?:get|getting|got) started|install\w*|requirements?",
    r"back(?:ing|ed)?[ -]?ups?|pg_dump",
    r"restor\w+",
    r"sign(?:ing|s)?[ -]up|regist(?:er|ration)\w*",
    r"(?:sign|log)(?:ging|ing|s)?[ -]?(?:in|on)|logins?",
    r"forgot\w*|forget|reset\w*|lost|los(?:e|es|ing)",
    r"approv\w+|let(?:ting)? (?:\w+ ){0,3}in|accept\w*|pending|wait\w*",
    r"admin|admins|administrators?",
    r"roll(?:ing)? back|downgrad\w+|go(?:ing)? back|(?:the )?way back",
    r"updat\w+|upgrad\w+|(?:new|newer|latest) (?:version|release)",
    r"https|tls|ssl|certificates?",
    r"(?:reverse )?prox(?:y|ies)|nginx|caddy|apache|traefik",
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
        self._starts: list[int] = []
        self._heads: list[str] = []
        whole: list[str] = []
        length = 0
        for section in self.sections:
            self._starts.append(length)
            self._heads.append(section.title.lower().replace("_", " "))
            whole.append(f"{self._heads[-1]} {section.text}\n".lower())
            length += len(whole[-1])
        self._lengths = [len(text) for text in whole]
        self._mean = length / max(1, len(whole))
        self._whole = "".join(whole)

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

    def _best(self, terms: Sequence[re.Pattern[str]]) -> Section | None:
        """BM25 over the sections, of which a heading counts more, and the nearness of their pages."""
        total = len(self.sections)
        scores = [0.0] * total
        covered = [0.0] * total
        wanted = 0.0
        for term in terms:
            counts: dict[int, int] = {}
            for found in term.finditer(self._whole):
                at = bisect_right(self._starts, found.start()) - 1
                counts[at] = counts.get(at, 0) + 1
            weight = math.log(1 + (total - len(counts) + 0.5) / (len(counts) + 0.5))
            wanted += weight
            for at, count in counts.items():
                in_head = _IN_HEADING if term.search(self._heads[at]) else 0
                frequency = count + in_head
                norm = 1.2 * (0.4 + 0.6 * self._lengths[at] / self._mean)
                scores[at] += weight * frequency * 2.2 / (frequency + norm)
                covered[at] += weight
        ranked = [
            (score * _nearness(self.sections[at].page), -at)
            for at, score in enumerate(scores)
            if score and covered[at] >= _ENOUGH * wanted and self._is_about(at, terms)
        ]
        return self.sections[-max(ranked)[1]] if ranked else None

    def _is_about(self, at: int, terms: Sequence[re.Pattern[str]]) -> bool:
        """Whether the heading says so: by a word that is not about anything, or by two. A setting's name says little."""
        named = [term for term in terms if term.search(self._heads[at])]
        if not all(map(_anywhere, named)):
            return True
        if self.sections[at].page != _CONFIGURATION:
            return len(named) >= 2
        start = self._starts[at]
        own = [term for term in terms if term.search(self._whole, start, start + self._lengths[at])]
        telling = sum(not _anywhere(term) for term in own)
        return telling > 0 and len(named) + telling >= 2


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
def _same() -> list[re.Pattern[str]]:
    return [re.compile(rf"\b(?:{pattern})\b") for pattern in (*_ALIKE, *_ALIKE_ANYWHERE)]


def _anywhere(term: re.Pattern[str]) -> bool:
    return term in _same()[len(_ALIKE) :]


def _nearness(page: str) -> float:
    return 0.5 if page in _TUTORIALS else _NEARNESS.get(page, 1.0)


def _terms(question: str) -> list[re.Pattern[str]]:
    """What a question is about, as patterns."""
    words = question.lower().replace("’", "'")
    terms = []
    for pattern in _same():
        words, count = pattern.subn(" ", words)
        if count:
            terms.append(pattern)
    for word in dict.fromkeys(re.findall(r"[^\W_]+(?:[._'-][^\W_]+)*", words)):
        if word not in _EMPTY and (len(word) > 1 or word.isdigit()):
            stem = re.escape(re.sub(r"(?<=\w{3})(?:ing|ed|s|ly|'s)$", "", word))
            terms.append(re.compile(rf"\b{stem}(?:\w{{0,4}})\b" if len(stem) > 3 else rf"\b{stem}s?\b"))
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


def _excerpt(section: Section, terms: Sequence[re.Pattern[str]]) -> str:
    """The paragraph that has most of a question's words, or rows of a table, with links that lead from here."""
    blocks = [block for block in _CODE.sub("", section.text).split("\n\n") if block.strip()] or [section.text]
    chosen = max(blocks, key=lambda block: sum(bool(term.search(block.lower())) for term in terms))
    if chosen.startswith("|"):
        chosen = _rows(chosen, terms)
    elif len(chosen) > _LONGEST_ANSWER:
        chosen = chosen[: chosen.rfind(". ", 0, _LONGEST_ANSWER) + 1] or f"{chosen[:_LONGEST_ANSWER]}…"

    def led(found: re.Match[str]) -> str:
        path, _, mark = found[1].partition("#")
        page = posixpath.normpath(posixpath.join(posixpath.dirname(section.page), path)) if path else section.page
        return f"]({READER}{page}{'#' + mark if mark else ''})"

    return re.sub(r"\]\((?!\w+:)([^)\s]+)\)", led, chosen)


def _rows(table: str, terms: Sequence[re.Pattern[str]]) -> str:
    """The head of a table and the three of its rows that have most of the words, those of few rows counting more."""
    head, rule, *rows = table.split("\n")
    having = [{row for row in rows if term.search(row.lower())} for term in terms]
    rows.sort(key=lambda row: -sum(1 / len(those) for those in having if row in those))
    return "\n".join([head, rule, *rows[:3]])
