"""The document of a note: a CRDT (Yjs) with the editor's tree in it, as bytes in and bytes out.

Nothing is held here: a document is made of its updates, looked at or changed, and left. So all of it may run in a thread.
"""

import difflib
import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec
from pycrdt import Doc, XmlElement, XmlFragment, XmlText, get_update, merge_updates

from open_webui.notes import markdown, nodes, writing
from open_webui.notes.checking import Broken, walk
from open_webui.notes.nodes import Node
from open_webui.utils.threads import with_deep_stack

T = TypeVar("T")
# Where editors of notes look for the tree.
ROOT: Final = "prosemirror"
EMPTY: Final = b"\x00\x00"
# Marks that may lie on one another have a hash behind their names.
_HASHED: Final = re.compile(r"(.+)--[A-Za-z0-9+/=]{8}")
_TOKENS: Final = re.compile(r"\w+|\W")
# Compared one with another; where there are more, all between the first and the last difference is put anew.
_MOST_COMPARED: Final = 2_000
_MAX_CLIENT: Final = 2**32 - 1
# The library deletes what stands in each other by calling itself, with some 280 bytes of stack for each step; one step is seven
# bytes of an update at least. What is smaller than this fits into any thread's stack.
_SHALLOW: Final = 60_000
_STACK_A_BYTE: Final = 80
# How deep elements are read, and values in them. Beyond that only the text is taken.
_MAX_DEPTH: Final = 60
_MAX_VALUE_DEPTH: Final = 4
_MAX_EXACT: Final = 2**53


class Text(msgspec.Struct, frozen=True):
    """The text of a document in its three forms."""

    md: str
    html: str
    json: Node

    @property
    def content(self) -> dict[str, Any]:
        return {"json": self.json, "html": self.html}


def check(update: bytes) -> None:
    """Raises Broken for what is no update. To be asked of all that comes from outside before anything else is done with it."""
    walk(update)
    _with_room([update], lambda: _apply(Doc(), update))


def says_nothing(update: bytes) -> bool:
    """Whether an update holds neither a change nor a deletion."""
    return update == EMPTY


def _with_room(updates: Sequence[bytes], work: Callable[[], T]) -> T:
    """The result of work with these updates, where however deep the elements in them stand there is room for it."""
    size = sum(map(len, updates))
    return work() if size <= _SHALLOW else with_deep_stack(2**23 + size * _STACK_A_BYTE, work)


def _apply(doc: "Doc[Any]", update: bytes) -> None:
    try:
        doc.apply_update(update)
    except BaseException as error:
        # What the library panics with is no Exception.
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            raise
        raise Broken(str(error)[:200]) from None


def _loaded(updates: Sequence[bytes]) -> "Doc[Any]":
    """The document of some updates. One that can't be applied is passed over."""
    doc: Doc[Any] = Doc(client_id=random.randint(1, _MAX_CLIENT))  # noqa: S311 - tells hands apart
    doc.get(ROOT, type=XmlFragment)
    for update in updates:
        try:
            _apply(doc, update)
        except Broken:
            continue
    return doc


def merged(updates: Sequence[bytes]) -> bytes:
    """All that some updates hold, as one: also what waits for others that are not there yet."""
    return updates[0] if len(updates) == 1 else _with_room(updates, lambda: _merged(updates))


def _merged(updates: Sequence[bytes]) -> bytes:
    doc = _loaded(updates)
    good = [update for update in updates if _is_good(update)]
    if not good:
        return EMPTY
    waiting = get_update(merge_updates(*good), doc.get_state())
    whole: bytes = doc.get_update()
    return whole if waiting == EMPTY else merge_updates(whole, waiting)


def new_in(updates: Sequence[bytes], update: bytes) -> bytes | None:
    """What an update says that others don't. None: nothing. Raises Broken."""
    walk(update)
    return _with_room([*updates, update], lambda: _new_in(updates, update))


def _new_in(updates: Sequence[bytes], update: bytes) -> bytes | None:
    _apply(Doc(), update)
    doc = _loaded(updates)
    before, state = doc.get_update(), doc.get_state()
    _apply(doc, update)
    rest: bytes = get_update(update, state)
    # The first number says how many hands have written something in it.
    return None if rest[:1] == b"\x00" and doc.get_update() == before else rest


def _is_good(update: bytes) -> bool:
    try:
        _apply(Doc(), update)
    except Broken:
        return False
    return True


def seed(tree: Node) -> bytes:
    """The first update of a document with this text. The tree is one of `nodes.normal` or of `markdown.parse`."""
    doc = _loaded(())
    with doc.transaction():
        _fill(_root(doc), tree["content"])
    made: bytes = doc.get_update()
    return made


def read(updates: Sequence[bytes]) -> Text:
    """The text of a document."""
    tree = _with_room(updates, lambda: _tree(_loaded(updates)))
    return Text(writing.to_markdown(tree), writing.to_html(tree), tree)


def _root(doc: "Doc[Any]") -> Any:
    return doc.get(ROOT, type=XmlFragment)


# What is in a document


def _tree(doc: "Doc[Any]") -> Node:
    return {"type": "doc", "content": [node for child in _root(doc).children for node in _nodes(child)]}


def _nodes(child: Any, depth: int = 0) -> Iterator[Node]:
    if isinstance(child, XmlText):
        yield from _texts(child)
    elif isinstance(child, XmlElement):
        if depth >= _MAX_DEPTH:
            if words := _words(child):
                yield nodes.text(words)
            return
        # A text is none of the elements.
        tag = _clean(child.tag or "")
        node: Node = {"type": "paragraph" if tag in {"", "text"} else tag}
        held: Any = child.attributes
        attrs = _plain(dict(held))
        if attrs:
            node["attrs"] = attrs
        content = [node for one in child.children for node in _nodes(one, depth + 1)]
        if content:
            node["content"] = content
        yield node


def _words(element: Any) -> str:
    """All text in an element, however deep it stands."""
    out: list[str] = []
    waiting = [element]
    while waiting:
        one = waiting.pop()
        if isinstance(one, XmlText):
            out.extend(node["text"] for node in _texts(one))
        elif isinstance(one, XmlElement):
            waiting.extend(reversed(list(one.children)))
    return "".join(out)


def _clean(words: str) -> str:
    """Without what no database takes."""
    return words.replace("\x00", "")


def _plain(value: Any, depth: int = 0) -> Any:
    """A value that a writer has put into a document as JSON has it, a number of JavaScript as one of Python; None for no such."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < _MAX_EXACT else value
    if value is None or isinstance(value, bool | int):
        return value
    if depth >= _MAX_VALUE_DEPTH:
        return None
    if isinstance(value, list):
        return [_plain(one, depth + 1) for one in value]
    if isinstance(value, dict):
        return {_clean(name): _plain(one, depth + 1) for name, one in value.items() if isinstance(name, str)}
    return None


def _texts(child: Any) -> Iterator[Node]:
    for value, attributes in child.diff():
        words = _clean(value) if isinstance(value, str) else ""
        if words:
            yield nodes.text(words, list(_marks(attributes or {})))


def _marks(attributes: dict[str, Any]) -> Iterator[Node]:
    for name, attrs in attributes.items():
        hashed = _HASHED.fullmatch(name)
        mark: Node = {"type": _clean(hashed[1] if hashed else name)}
        if isinstance(attrs, dict) and attrs:
            mark["attrs"] = _plain(attrs)
        yield mark


# Nodes into a document


def _fill(parent: Any, content: Sequence[Node], at: int | None = None) -> None:
    """Puts nodes into an element, from a place on. Texts side by side are one text of the document."""
    held = len(parent.children)
    place = held if at is None else at
    parts = _parts(content)
    if not held:
        # The library counts its way to each place from the beginning: there the last comes first.
        for part in reversed(parts):
            _put(parent, 0, part)
        return
    for n, part in enumerate(parts):
        _put(parent, place + n, part)


def _parts(content: Sequence[Node]) -> list[list[Node]]:
    """What becomes one child each: texts side by side, and every other node."""
    out: list[list[Node]] = []
    for node in content:
        if out and node["type"] == out[-1][-1]["type"] == "text":
            out[-1].append(node)
        else:
            out.append([node])
    return out


def _put(parent: Any, place: int, part: list[Node]) -> None:
    node = part[0]
    if node["type"] == "text":
        held = XmlText()
        parent.children.insert(place, held)
        _write(held, 0, part)
        return
    element = XmlElement(node["type"])
    parent.children.insert(place, element)
    for name, value in (node.get("attrs") or {}).items():
        if value is not None:
            element.attributes[name] = value
    _fill(element, node.get("content") or ())


def _write(held: Any, at: int, run: Sequence[Node]) -> None:
    for node in run:
        attrs = {mark["type"]: mark.get("attrs") or {} for mark in node.get("marks") or ()}
        # What stands before it would hand its marks on.
        held.insert(at, node["text"], attrs)
        at += len(node["text"].encode())


# Changes


def edit(updates: Sequence[bytes], wanted: Node) -> bytes | None:
    """An update that gives a document another text, by as few changes as there are differences. None: there is none.

    Whatever others write meanwhile stands where it was written: what is the same in both is not touched.
    """
    return _with_room(updates, lambda: _edit(updates, wanted))


def _edit(updates: Sequence[bytes], wanted: Node) -> bytes | None:
    doc = _loaded(updates)
    before = doc.get_state()
    with doc.transaction():
        _reconcile(_root(doc), wanted["content"], top=True)
    made: bytes = doc.get_update(before)
    changed = merged([*updates, made])
    return None if read([changed]).json == read(updates).json else made


def _key(node: Node, *, top: bool) -> str:
    written = writing.blocks_to_markdown([node])
    # As it would be read again, since what it is compared with was read.
    return writing.to_markdown(markdown.parse(written)) if top and written else written


def _is_empty(node: Node) -> bool:
    return node["type"] == "paragraph" and not node.get("content")


def _reconcile(parent: Any, wanted: Sequence[Node], *, top: bool = False) -> None:
    """Makes the children of an element those that are wanted."""
    held = [next(iter(_nodes(child)), {"type": "text", "text": ""}) for child in parent.children]
    if any(node["type"] == "text" for node in [*held, *wanted]):
        _reconcile_text(parent, wanted)
        return
    # Empty paragraphs are room between others, of which a text says nothing.
    places = [n for n, node in enumerate(held) if not (top and _is_empty(node))]
    old = [f"{held[n]['type']} {_key(held[n], top=top)}" for n in places]
    new = [f"{node['type']} {_key(node, top=top)}" for node in wanted]
    # From the end on, so that earlier places stay what they are.
    for begin, end, from_, to in reversed(_differences(old, new)):
        taken = places[begin:end]
        put = list(wanted[from_:to])
        pairs = min(len(taken), len(put))
        after = taken[-1] + 1 if taken else places[begin] if begin < len(places) else len(held)
        _fill(parent, put[pairs:], after)
        for n in range(len(taken) - 1, -1, -1):
            if n >= pairs:
                del parent.children[taken[n]]
            else:
                _replace(parent, taken[n], held[taken[n]], put[n])


def _replace(parent: Any, at: int, held: Node, wanted: Node) -> None:
    """Makes one child another: in it, where both are of a kind."""
    child = parent.children[at]
    if held["type"] != wanted["type"] or held["type"] in {"image", "horizontalRule"}:
        del parent.children[at]
        _fill(parent, [wanted], at)
        return
    attrs = held.get("attrs") or {}
    for name, value in (wanted.get("attrs") or {}).items():
        if value is not None and attrs.get(name) != value:
            child.attributes[name] = value
    _reconcile(child, wanted.get("content") or ())


def _reconcile_text(parent: Any, wanted: Sequence[Node]) -> None:
    children = list(parent.children)
    if len(children) != 1 or not _is_plain(children[0]) or any(node["type"] != "text" for node in wanted):
        for n in range(len(children) - 1, -1, -1):
            del parent.children[n]
        _fill(parent, wanted)
        return
    held = children[0]
    old, new = _tokens(list(_texts(held))), _tokens(wanted)
    ends = [0]
    for word, _ in old:
        ends.append(ends[-1] + len(word.encode()))
    for begin, end, from_, to in reversed(_differences(old, new)):
        if end > begin:
            del held[ends[begin] : ends[end]]
        put = [nodes.text(word, [*marks]) for word, marks in _whole(new[from_:to])]
        _write(held, ends[begin], put)


def _is_plain(child: Any) -> bool:
    """Whether all that stands in a child is text that is read as it stands there: only then places in both are the same."""
    return isinstance(child, XmlText) and all(
        isinstance(value, str) and "\x00" not in value for value, _ in child.diff()
    )


Token = tuple[str, str]


def _tokens(run: Sequence[Node]) -> list[Token]:
    """Words and signs, each with its marks as text."""
    out: list[Token] = []
    for node in run:
        marks = msgspec.json.encode(
            sorted(([m["type"], (m.get("attrs") or {}).get("href")] for m in node.get("marks") or ()), key=str)
        ).decode()
        out.extend((word, marks) for word in _TOKENS.findall(node["text"]))
    return out


def _whole(tokens: Sequence[Token]) -> Iterator[tuple[str, list[Node]]]:
    """Tokens with the same marks as one."""
    n = 0
    while n < len(tokens):
        to = n
        while to < len(tokens) and tokens[to][1] == tokens[n][1]:
            to += 1
        marks: list[Node] = []
        for kind, href in msgspec.json.decode(tokens[n][1]):
            marks.append({"type": kind, "attrs": {"href": href}} if href else {"type": kind})
        yield "".join(word for word, _ in tokens[n:to]), marks
        n = to


def _differences(old: Sequence[Any], new: Sequence[Any]) -> list[tuple[int, int, int, int]]:
    """Where two lists differ, in order: from and to in the old one, from and to in the new one."""
    begin = 0
    while begin < min(len(old), len(new)) and old[begin] == new[begin]:
        begin += 1
    end = 0
    while end < min(len(old), len(new)) - begin and old[-1 - end] == new[-1 - end]:
        end += 1
    a, b = old[begin : len(old) - end], new[begin : len(new) - end]
    if not a and not b:
        return []
    if max(len(a), len(b)) > _MOST_COMPARED:
        return [(begin, begin + len(a), begin, begin + len(b))]
    codes = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    return [(begin + i, begin + j, begin + k, begin + m) for tag, i, j, k, m in codes if tag != "equal"]
