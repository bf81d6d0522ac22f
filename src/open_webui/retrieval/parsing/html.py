"""HTML to Markdown: headings, lists, links, tables and code stay; scripts, styles and layout go. In linear time.

The standard library's parser takes quadratic time for some broken pages; this one looks at each character once.
"""

import html
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from open_webui.retrieval.parsing.base import Parsed, clean

_SKIPPED: Final = frozenset(
    "script style template svg math iframe object noscript canvas audio video select button".split()
)
# Their inside is text whatever it looks like.
_RAW: Final = frozenset("script style textarea title xmp iframe noembed noframes".split())
_BLOCKS: Final = frozenset(
    "address article aside blockquote body caption dd details dialog div dl dt fieldset figcaption figure footer form h1 h2 h3 h4"
    " h5 h6 header hr html legend li main nav ol p pre section summary table tbody tfoot thead tr ul".split()
)
_HEADINGS: Final[Mapping[str, str]] = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_MAX_LIST: Final = 8
_MAX_LINK: Final = 2_000
# A name, and all up to the ">" that is in no quoted value. Possessive: what does not match is not tried in another way.
_TAG: Final = re.compile(r"""<(/?)([a-zA-Z][^\s/>]*+)((?:[^=>]++|=\s*+(?:"[^"]*+"|'[^']*+')|=)*+)>""")
_ATTRIBUTE: Final = re.compile(r"""([^\s"'=<>/]++)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))""")
_SPACE: Final = re.compile(r"[ \t\n\r\f]++")
_TICKS: Final = re.compile("`{3,}")
# What a line of text must not begin with, so as to be no heading and no fence.
_MARKUP: Final = re.compile(r"^(?=#|```|~~~)", re.MULTILINE)
_LINKED: Final = re.compile(r"(?:https?://|mailto:|/|#|\.|[\w%-]+(?:[/.?#]|$))", re.IGNORECASE)


class _Token(NamedTuple):
    """text: a run of text, or None for a tag with its name, whether it ends, and its attributes as they are written."""

    text: str | None
    name: str = ""
    ends: bool = False
    attributes: str = ""


def parse_html(text: str) -> Parsed:
    """The Markdown of a page."""
    writer = _Writer()
    for token in _tokens(text):
        if token.text is not None:
            writer.write(token.text)
        elif token.ends:
            writer.end(token.name)
        else:
            writer.begin(token.name, token.attributes)
    return Parsed(clean(writer.finish()), title=writer.title, markdown=True)


def _tokens(text: str) -> Iterator[_Token]:
    """Tags and the text between them. What is begun and not ended, comment or tag, goes up to the end, as browsers have it."""
    position, size = 0, len(text)
    while position < size:
        opening = text.find("<", position)
        if opening < 0:
            opening = size
        if opening > position:
            yield _Token(text[position:opening])
        if opening == size:
            return
        position, tag = _after(text, opening)
        if tag is None:
            if position == opening + 1:
                yield _Token("<")
            continue
        name = tag[2].lower()
        yield _Token(None, name, bool(tag[1]), tag[3])
        if name in _RAW and not tag[1]:
            closing = re.compile(rf"</{name}\b", re.IGNORECASE).search(text, position)
            stop = closing.start() if closing else size
            yield _Token(text[position:stop])
            position = stop


def _after(text: str, opening: int) -> tuple[int, re.Match[str] | None]:
    """Where what begins with this "<" ends, and the tag, if it is one. A "<" that begins nothing ends after itself."""
    if text.startswith("<!--", opening):
        end = text.find("-->", opening + 2)
        return (len(text) if end < 0 else end + 3), None
    following = text[opening + 1 : opening + 3]
    if following[:1] in {"!", "?"} or (following[:1] == "/" and not following[1:].isalpha()):
        end = text.find(">", opening)
        return (len(text) if end < 0 else end + 1), None
    if not (following[:1].isascii() and following[:1].isalpha()) and following[:1] != "/":
        return opening + 1, None
    tag = _TAG.match(text, opening)
    return (len(text), None) if tag is None else (tag.end(), tag)


class _Writer:
    """Puts Markdown together, line by line."""

    def __init__(self) -> None:
        self.title: str | None = None
        self._heading: str | None = None  # the first one, for a page without a title
        self._out: list[str] = []
        self._line: list[str] = []  # of the block that is being written
        self._prefix = ""
        self._after_item = False  # whether the last block was an item of a list
        self._skipping: list[str] = []  # elements that are left out, the outermost first
        self._lists: list[int] = []  # number of the last item of each list around, -1 without numbers
        self._link: tuple[str, int] | None = None  # where it leads, and where in the line its text begins
        self._pre: list[str] | None = None
        self._row: list[str] | None = None
        self._in_cell = False
        self._rows = 0  # of the table around, so far
        self._tables = 0  # how many are around
        self._in_title = False
        self._begin: Mapping[str, Callable[[str], None]] = {
            "br": lambda _: self._line.append(" " if self._row is not None else "\n"),
            "hr": lambda _: None,
            "ul": lambda _: self._lists.append(-1),
            "ol": lambda _: self._lists.append(0),
            "li": self._begin_item,
            "a": self._begin_link,
            "img": self._picture,
            "pre": self._begin_pre,
            "code": lambda _: self._tick(),
            "table": self._begin_table,
            "tr": self._begin_row,
            "td": lambda _: self._begin_cell(),
            "th": lambda _: self._begin_cell(),
            "title": self._begin_title,
        }
        self._end: Mapping[str, Callable[[], None]] = {
            "ul": self._end_list,
            "ol": self._end_list,
            "a": self._end_link,
            "pre": self._end_pre,
            "code": self._tick,
            "table": self._end_table,
            "tr": self._end_row,
            "td": self._end_cell,
            "th": self._end_cell,
            "title": self._end_title,
        }

    def begin(self, name: str, attributes: str) -> None:
        """A tag that begins an element."""
        if self._skipping or name in _SKIPPED:
            alone = name in {"svg", "math"} and attributes.endswith("/")
            if not alone and (not self._skipping or name == self._skipping[-1]):
                self._skipping.append(name)
            return
        if name in _BLOCKS and self._row is None and self._pre is None:
            self._break()
            self._prefix = _HEADINGS.get(name, self._prefix)
        if name in self._begin:
            self._begin[name](attributes)

    def end(self, name: str) -> None:
        """A tag that ends one; it need not have begun."""
        if self._skipping:
            if name == self._skipping[-1]:
                self._skipping.pop()
            return
        if name in self._end:
            self._end[name]()
        if name in _BLOCKS and self._row is None and self._pre is None:
            self._break()
            if name == "li" or name in _HEADINGS:
                self._prefix = ""

    def write(self, text: str) -> None:
        """Text between tags."""
        if self._skipping:
            return
        text = html.unescape(text)
        if self._pre is not None:
            self._pre.append(text)
        else:
            self._line.append(_SPACE.sub(" ", text))

    def finish(self) -> str:
        """All of it."""
        self._end_title()
        self._end_pre()
        self._end_row()
        self._break()
        self.title = self.title or self._heading
        return "\n".join(self._out).strip("\n") + "\n" if self._out else ""

    def _break(self) -> None:
        """Ends the block that is being written."""
        self._end_link()
        text = re.sub(r" *+\n *+", "\n", re.sub(r" {2,}+", " ", "".join(self._line))).strip()
        self._line.clear()
        if not text:
            return
        if self._prefix.startswith("#"):
            text = " ".join(text.split())
            self._heading = self._heading or text[:300]
        else:
            text = _MARKUP.sub(r"\\", text)
        item = bool(self._prefix) and not self._prefix.startswith("#")
        if self._out and not (item and self._after_item):
            self._out.append("")
        self._out.append(self._prefix + text)
        self._prefix, self._after_item = "", item

    # ---- elements

    def _begin_item(self, _: str) -> None:
        depth = min(len(self._lists), _MAX_LIST)
        mark = "-"
        if self._lists and self._lists[-1] >= 0:
            self._lists[-1] += 1
            mark = f"{self._lists[-1]}."
        if self._row is None:
            self._prefix = "  " * max(depth - 1, 0) + mark + " "

    def _end_list(self) -> None:
        if self._row is None:
            self._break()
        if self._lists:
            self._lists.pop()

    def _begin_link(self, attributes: str) -> None:
        self._end_link()
        address = _attribute(attributes, "href").strip()
        if _LINKED.match(address) and len(address) <= _MAX_LINK and not address.startswith("#"):
            self._link = (address, len(self._line))

    def _end_link(self) -> None:
        if self._link is None:
            return
        address, start = self._link
        self._link = None
        text = "".join(self._line[start:])
        if shown := text.strip():
            address = address.replace(" ", "%20").replace(")", "%29")
            lead, tail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
            self._line[start:] = [f"{lead}[{shown}]({address}){tail}"]

    def _picture(self, attributes: str) -> None:
        if says := _attribute(attributes, "alt").strip():
            self._line.append(_SPACE.sub(" ", says))

    def _tick(self) -> None:
        if self._pre is None:
            self._line.append("`")

    def _begin_pre(self, _: str) -> None:
        if self._row is None and self._pre is None:
            self._pre = []

    def _end_pre(self) -> None:
        if self._pre is None:
            return
        code = "".join(self._pre).strip("\n")
        self._pre = None
        if code.strip():
            fence = "`" * max([3, *(len(ticks) + 1 for ticks in _TICKS.findall(code))])
            self._out += ["", fence, code, fence]

    def _begin_table(self, _: str) -> None:
        self._tables += 1
        if self._tables == 1:
            self._rows = 0

    def _end_table(self) -> None:
        self._end_row()
        self._tables = max(self._tables - 1, 0)

    def _begin_row(self, _: str) -> None:
        if self._tables == 1 and self._pre is None:
            self._end_row()
            self._break()
            self._row = []

    def _begin_cell(self) -> None:
        self._end_cell()
        self._in_cell = self._tables == 1 and self._row is not None

    def _end_cell(self) -> None:
        if self._tables != 1 or self._row is None:
            self._line.append(" ")
            return
        self._end_link()
        text = _SPACE.sub(" ", "".join(self._line)).strip()
        if text or self._in_cell:
            self._row.append(text.replace("|", "\\|"))
        self._line.clear()
        self._in_cell = False

    def _end_row(self) -> None:
        if self._row is None or self._tables > 1:
            return
        self._end_cell()
        cells, self._row = self._row, None
        if not any(cells):
            return
        if self._rows == 0:
            self._out.append("")
        self._out.append(f"| {' | '.join(cells)} |")
        if self._rows == 0 and len(cells) > 1:
            self._out.append("|" + " --- |" * len(cells))
        self._rows += 1

    def _begin_title(self, _: str) -> None:
        if self._title_wanted():
            self._break()
            self._in_title = True

    def _title_wanted(self) -> bool:
        return self.title is None and self._row is None and self._pre is None

    def _end_title(self) -> None:
        if self._in_title:
            self._in_title = False
            self.title = " ".join("".join(self._line).split())[:300] or None
            self._line.clear()


def _attribute(attributes: str, wanted: str) -> str:
    for found in _ATTRIBUTE.finditer(attributes):
        if found[1].lower() == wanted:
            return html.unescape(found[2] or found[3] or found[4] or "")
    return ""
