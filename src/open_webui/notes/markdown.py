"""Markdown as a tree of `nodes`. Each character is looked at a bounded number of times, whatever is written."""

import bisect
import re
from collections.abc import Callable
from typing import Final

import msgspec

from open_webui.notes.nodes import MARKS, MAX_DEPTH, Node, document, paragraph, safe_link, text

# What can't be read in another way is not tried again (`++`, `*+`): else a long line is gone through for each sign in it.
_FENCE: Final = re.compile(r"^ {0,3}(`{3,}+|~{3,}+)([^`\n]*+)$")
_HEADING: Final = re.compile(r"^ {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_RULE: Final = re.compile(r"^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_QUOTE: Final = re.compile(r"^ {0,3}> ?")
_ITEM: Final = re.compile(r"^( {0,3})([-*+]|(\d{1,9})[.)])(?:[ \t]+|$)")
_TASK: Final = re.compile(r"^\[([ xX])\](?:[ \t]+|$)")
_CELLS: Final = re.compile(r"^ {0,3}\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t]*+$")
_SPLIT: Final = re.compile(r"(?<!\\)\|")
_ESCAPED: Final = re.compile(r"\\([!-/:-@\[-`{-~])")
_LINK: Final = re.compile(r"\]\((?:<([^<>\n]{0,4000}+)>|([^\s()<>]{0,4000}+))(?:[ \t]++\"[^\"\n]{0,1000}+\")?\)")
_AUTO: Final = re.compile(r"<(https?://[^\s<>]{1,2000}|mailto:[^\s<>]{1,500})>")
_TICKS: Final = re.compile(r"`+")
_SPECIAL: Final = re.compile(r"[\\`*_~\[!<\n]")
_DELIMITERS: Final = (("**", "bold"), ("__", "bold"), ("~~", "strike"), ("*", "italic"), ("_", "italic"))
# Marks in marks.
_MOST_MARKS: Final = 8
# Cells of all tables of a text. A row may say less than it has cells, so a short text would make very many.
_MOST_CELLS: Final = 20_000
# Characters of what is shown of a link.
_MOST_SHOWN: Final = 5_000


class _Place(msgspec.Struct):
    """Where a text is read. cells: how many all its tables may still have, one number for all places in it."""

    depth: int
    cells: list[int]

    def deeper(self, by: int) -> "_Place":
        return _Place(self.depth + by, self.cells)


def parse(markdown: str) -> Node:
    """The tree of a text."""
    lines = markdown.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "").expandtabs(4).split("\n")
    return document(_blocks(lines, _Place(0, [_MOST_CELLS])))


def _blocks(lines: list[str], place: _Place) -> list[Node]:
    out: list[Node] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        if place.depth >= MAX_DEPTH - 4:
            out.append(paragraph(text("\n".join(lines[at:]).strip())))
            break
        for read in _READERS:
            found = read(lines, at, place)
            if found is not None:
                blocks, at = found
                out.extend(blocks)
                break
    return out


Found = tuple[list[Node], int] | None


def _fence(lines: list[str], at: int, place: _Place) -> Found:  # noqa: ARG001 - as all readers
    opened = _FENCE.match(lines[at])
    if opened is None:
        return None
    sign, language = opened[1], opened[2].strip()
    end = re.compile(rf"^ {{0,3}}{re.escape(sign[0])}{{{len(sign)},}}[ \t]*$")
    to = at + 1
    while to < len(lines) and end.match(lines[to]) is None:
        to += 1
    code = "\n".join(lines[at + 1 : to])
    made: Node = {"type": "codeBlock", "attrs": {"language": language[:100] or None}}
    if code:
        made["content"] = [text(code)]
    return [made], to + 1


def _heading(lines: list[str], at: int, place: _Place) -> Found:  # noqa: ARG001 - as all readers
    found = _HEADING.match(lines[at])
    if found is None:
        return None
    words = (found[2] or "").strip()
    before = words.rstrip("#")
    if not before or before[-1] in " \t":
        # Signs at the end close it.
        words = before.rstrip(" \t")
    inside = [one for one in _inline(words) if one["type"] != "image"]
    made: Node = {"type": "heading", "attrs": {"level": len(found[1])}}
    if inside:
        made["content"] = inside
    return [made], at + 1


def _rule(lines: list[str], at: int, place: _Place) -> Found:  # noqa: ARG001 - as all readers
    if len(lines[at]) > 200 or _RULE.match(lines[at]) is None:
        return None
    return [{"type": "horizontalRule"}], at + 1


def _quote(lines: list[str], at: int, place: _Place) -> Found:
    if _QUOTE.match(lines[at]) is None:
        return None
    inside = []
    while at < len(lines) and (found := _QUOTE.match(lines[at])) is not None:
        inside.append(lines[at][found.end() :])
        at += 1
    return [{"type": "blockquote", "content": _blocks(inside, place.deeper(1)) or [paragraph()]}], at


def _kind(line: str) -> tuple[str, int, int] | None:
    """Of a line that begins an item: the list's type, how far in its text stands, and its number."""
    found = _ITEM.match(line)
    if found is None or (len(line) <= 200 and _RULE.match(line)):
        return None
    width = min(found.end(), len(found[1]) + len(found[2]) + 4)
    if found[3] is not None:
        return "orderedList", width, int(found[3])
    task = _TASK.match(line[found.end() :])
    return ("bulletList" if task is None else "taskList"), width, 1


def _list(lines: list[str], at: int, place: _Place) -> Found:
    first = _kind(lines[at])
    if first is None:
        return None
    kind, _, start = first
    items: list[Node] = []
    while at < len(lines) and (now := _kind(lines[at])) is not None and now[0] == kind:
        width = max(now[1], 2)
        inside = [lines[at][now[1] :]]
        at += 1
        while at < len(lines):
            line = lines[at]
            if line.strip() and len(line) - len(line.lstrip(" ")) < width and (_starts(line) or not inside[-1].strip()):
                break
            inside.append(line[width:] if line[:width].isspace() else line.lstrip(" ") if line.strip() else "")
            at += 1
        while len(inside) > 1 and not inside[-1].strip():
            inside.pop()
        items.append(_item(kind, inside, place))
        while at < len(lines) and not lines[at].strip():
            at += 1
    made: Node = {"type": kind, "content": items}
    if kind == "orderedList":
        made["attrs"] = {"start": start}
    return [made], at


def _item(kind: str, inside: list[str], place: _Place) -> Node:
    made: Node = {"type": "taskItem" if kind == "taskList" else "listItem"}
    if kind == "taskList" and (task := _TASK.match(inside[0])):
        made["attrs"] = {"checked": task[1] != " "}
        inside[0] = inside[0][task.end() :]
    blocks = _blocks(inside, place.deeper(2))
    if not blocks or blocks[0]["type"] != "paragraph":
        blocks.insert(0, paragraph())
    made["content"] = blocks
    return made


def _table(lines: list[str], at: int, place: _Place) -> Found:
    if "|" not in lines[at] or at + 1 >= len(lines) or "|" not in lines[at + 1] or len(lines[at + 1]) > 2_000:
        return None
    if _CELLS.match(lines[at + 1]) is None:
        return None
    head = _row(lines[at])
    place.cells[0] -= len(head)
    if place.cells[0] < 0:
        return None
    rows = [{"type": "tableRow", "content": [_cell("tableHeader", words) for words in head]}]
    at += 2
    while at < len(lines) and "|" in lines[at] and lines[at].strip() and place.cells[0] >= len(head):
        place.cells[0] -= len(head)
        cells = _row(lines[at])[: len(head)]
        cells += [""] * (len(head) - len(cells))
        rows.append({"type": "tableRow", "content": [_cell("tableCell", words) for words in cells]})
        at += 1
    return [{"type": "table", "content": rows}], at


def _row(line: str) -> list[str]:
    line = line.strip().removeprefix("|")
    if line.endswith("|") and not line.endswith("\\|"):
        line = line[:-1]
    return [cell.strip().replace("\\|", "|") for cell in _SPLIT.split(line)[:200]]


def _cell(kind: str, words: str) -> Node:
    return {"type": kind, "content": _paragraphs("\n".join(re.split(r"<br ?/?>", words)))}


def _starts(line: str) -> bool:
    """Whether a line begins another block than a paragraph."""
    return bool(
        _FENCE.match(line)
        or _HEADING.match(line)
        or (len(line) <= 200 and _RULE.match(line))
        or _QUOTE.match(line)
        or _ITEM.match(line)
    )


def _text(lines: list[str], at: int, place: _Place) -> Found:  # noqa: ARG001 - as all readers
    words = [lines[at].strip()]
    at += 1
    while at < len(lines) and lines[at].strip() and not _starts(lines[at]):
        words.append(lines[at].strip())
        at += 1
    joined = "\n".join(line.removesuffix("\\") if n < len(words) - 1 else line for n, line in enumerate(words))
    return _paragraphs(joined), at


def _paragraphs(words: str) -> list[Node]:
    """A paragraph; several where pictures stand in it, which are blocks."""
    out: list[Node] = []
    run: list[Node] = []
    for node in _inline(words):
        if node["type"] == "image":
            if run:
                out.append(paragraph(*run))
                run = []
            out.append(node)
        else:
            run.append(node)
    if run or not out:
        out.append(paragraph(*run))
    return out


_READERS: Final[tuple[Callable[[list[str], int, _Place], Found], ...]] = (
    _fence, _heading, _rule, _quote, _list, _table, _text,
)  # fmt: skip


def _inline(words: str) -> list[Node]:
    """A run of text with its marks."""
    return _Inline(words).read(0, len(words), ())


class _Inline:
    """Reads one run of text. Where an end was not found once, it is not looked for again."""

    def __init__(self, words: str) -> None:
        self._words = words
        # From where on there is no end of a sign, by the sign and where the part ends in which it was looked for.
        self._endless: dict[tuple[str, int], int] = {}
        # Where runs of so many backticks begin, once one is asked for.
        self._ticks: dict[int, list[int]] | None = None
        # Where the text of a link ended that was looked for last, and from where on; and what stood there.
        self._shown: tuple[int, int] = (0, -1)
        self._links: dict[tuple[int, int], re.Match[str] | None] = {}

    def read(self, at: int, to: int, marks: tuple[str, ...]) -> list[Node]:
        out: list[Node] = []
        plain: list[str] = []

        def flush() -> None:
            if plain:
                out.append(text("".join(plain), _marks(marks)))
                plain.clear()

        while at < to:
            found = _SPECIAL.search(self._words, at, to)
            if found is None:
                plain.append(self._words[at:to])
                break
            plain.append(self._words[at : found.start()])
            at = found.start()
            taken = self._special(at, to, marks)
            if taken is None:
                plain.append(self._words[at])
                at += 1
            elif isinstance(taken[0], str):
                plain.append(taken[0])
                at = taken[1]
            else:
                flush()
                out.extend(taken[0])
                at = taken[1]
        flush()
        return _joined(out)

    def _special(self, at: int, to: int, marks: tuple[str, ...]) -> tuple[str | list[Node], int] | None:
        words, sign = self._words, self._words[at]
        if sign == "\n":
            return [{"type": "hardBreak"}], at + 1
        if sign == "\\":
            escaped = _ESCAPED.match(words, at, to)
            return None if escaped is None else (escaped[1], escaped.end())
        if sign == "`":
            return self._code(at, to, marks)
        if sign in "[!":
            return self._link(at, to, marks)
        if sign == "<":
            return self._angle(at, to, marks)
        return self._emphasis(at, to, marks)

    def _end(self, sign: str, at: int, to: int) -> int:
        """Where a sign comes next, or -1."""
        if at >= self._endless.get((sign, to), to + 1):
            return -1
        found = self._words.find(sign, at, to)
        if found < 0:
            self._endless[sign, to] = min(at, self._endless.get((sign, to), at))
        return found

    def _closing_ticks(self, size: int, at: int, to: int) -> int:
        """Where the next run of just so many backticks begins, or -1."""
        if self._ticks is None:
            self._ticks = {}
            for run in _TICKS.finditer(self._words):
                self._ticks.setdefault(len(run[0]), []).append(run.start())
        places = self._ticks.get(size, [])
        n = bisect.bisect_left(places, at)
        return places[n] if n < len(places) and places[n] + size <= to else -1

    def _code(self, at: int, to: int, marks: tuple[str, ...]) -> tuple[list[Node], int] | tuple[str, int]:
        size = 1
        while at + size < to and self._words[at + size] == "`":
            size += 1
        end = self._closing_ticks(size, at + size, to)
        if end < 0:
            return "`" * size, at + size
        code = self._words[at + size : end].replace("\n", " ")
        if len(code) > 2 and code[0] == code[-1] == " " and code.strip():
            code = code[1:-1]
        return [text(code, _marks((*marks, "code")))], end + size

    def _link(self, at: int, to: int, marks: tuple[str, ...]) -> tuple[list[Node], int] | None:
        is_picture = self._words[at] == "!"
        begin = at + 1 + is_picture
        if is_picture and self._words[at + 1 : at + 2] != "[":
            return None
        end = self._shown_until(begin, to)
        if end < 0 or self._words.find("\n\n", begin, end) >= 0:
            return None
        if (end, to) not in self._links:
            self._links[end, to] = _LINK.match(self._words, end, to)
        found = self._links[end, to]
        if found is None:
            return None
        href = safe_link(found[1] or found[2] or "")
        if href is None:
            return None
        if is_picture:
            alt = _ESCAPED.sub(r"\1", self._words[begin:end])
            return [{"type": "image", "attrs": {"src": href, "alt": alt}}], found.end()
        if any(mark.startswith("link ") for mark in marks):
            return None
        return self.read(begin, end, (f"link {href}", *marks)), found.end()

    def _shown_until(self, begin: int, to: int) -> int:
        """Where the text of a link ends that begins here, or -1. One end is found once for all that begin before it."""
        since, end = self._shown
        if not since <= begin <= end:
            end = self._words.find("](", begin)
            if end < 0:
                end = len(self._words)
            self._shown = (begin, end)
        return end if end - begin <= _MOST_SHOWN and end + 2 <= to else -1

    def _angle(self, at: int, to: int, marks: tuple[str, ...]) -> tuple[list[Node], int] | None:
        auto = _AUTO.match(self._words, at, to)
        if auto is not None:
            return [text(auto[1].removeprefix("mailto:"), _marks((f"link {auto[1]}", *marks)))], auto.end()
        for sign, mark in (("u", "underline"), ("mark", "highlight")):
            if self._words.startswith(f"<{sign}>", at):
                begin = at + len(sign) + 2
                end = self._end(f"</{sign}>", begin, to) if len(marks) < _MOST_MARKS else -1
                if end >= 0:
                    return self.read(begin, end, (*marks, mark)), end + len(sign) + 3
        return None

    def _emphasis(self, at: int, to: int, marks: tuple[str, ...]) -> tuple[list[Node], int] | None:
        if len(marks) >= _MOST_MARKS:
            return None
        words = self._words
        for sign, mark in _DELIMITERS:
            size = len(sign)
            if not words.startswith(sign, at) or mark in marks or at + size >= to or words[at + size].isspace():
                continue
            if sign[0] == "_" and at and words[at - 1].isalnum():
                continue
            end = self._closing(sign, at + size, to)
            if end > at + size:
                return self.read(at + size, end, (*marks, mark)), end + size
        return None

    def _closing(self, sign: str, at: int, to: int) -> int:
        """Where a mark ends: not behind a space, not escaped, not in a longer sign."""
        words, size, begin = self._words, len(sign), at
        key = (f"close {sign}", to)
        if begin >= self._endless.get(key, to + 1):
            return -1
        while (found := words.find(sign, at, to)) >= 0:
            run = found
            while run < to and words[run] == sign[0]:
                run += 1
            behind = words[found - 1]
            longer = run - found
            fits = not behind.isspace() and behind != "\\"
            if sign[0] == "_" and run < to and words[run].isalnum():
                fits = False
            if fits and longer in {size, 3}:
                # Of three, the sign of the inner mark comes first.
                return found if longer == size else found + 3 - size
            at = run
        self._endless[key] = min(begin, self._endless.get(key, begin))
        return -1


def _marks(marks: tuple[str, ...]) -> list[Node]:
    found: dict[str, Node] = {}
    for mark in marks:
        kind, _, href = mark.partition(" ")
        found[kind] = {"type": kind, "attrs": {"href": href}} if href else {"type": kind}
    if "code" in found:
        return [found["code"]]
    return [found[kind] for kind in MARKS if kind in found]


def _joined(nodes: list[Node]) -> list[Node]:
    """The same with neighbouring texts of the same marks as one."""
    out: list[Node] = []
    texts: list[list[str]] = []
    for node in nodes:
        words = node["text"] if node["type"] == "text" else ""
        if out and node["type"] == out[-1]["type"] == "text" and node.get("marks") == out[-1].get("marks"):
            texts[-1].append(words)
        elif node["type"] != "text" or words:
            out.append(node)
            texts.append([words])
    return [node | {"text": "".join(parts)} if len(parts) > 1 else node for node, parts in zip(out, texts, strict=True)]
