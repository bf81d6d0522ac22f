"""The editor's tree: JSON as ProseMirror has it, of the nodes and marks that editors of notes know.

A node that an editor doesn't know, or that stands where it may not, is thrown away by the editor, with all that is in it.
So what comes from outside is brought into this form, and keeps its text.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeGuard

Node = dict[str, Any]
# How deep nodes may stand in each other, and how many there may be; what is beyond becomes text, or is left out.
MAX_DEPTH: Final = 30
MAX_NODES: Final = 200_000
MARKS: Final = ("link", "bold", "italic", "strike", "underline", "highlight", "code")
LISTS: Final[Mapping[str, str]] = {"bulletList": "listItem", "orderedList": "listItem", "taskList": "taskItem"}
_TEXTS: Final = frozenset({"paragraph", "heading", "codeBlock"})
_BOXES: Final = frozenset({"blockquote", "listItem", "taskItem", "tableCell", "tableHeader"})
_SAFE: Final = ("http://", "https://", "mailto:", "/", "#", "data://", "data:image/")


def text(value: str, marks: list[Node] | None = None) -> Node:
    node: Node = {"type": "text", "text": value}
    return node | {"marks": marks} if marks else node


def paragraph(*content: Node) -> Node:
    return {"type": "paragraph", "content": list(content)} if content else {"type": "paragraph"}


def document(blocks: list[Node]) -> Node:
    """A whole tree, which has one block at least."""
    return {"type": "doc", "content": blocks or [paragraph()]}


def is_document(value: Any) -> TypeGuard[Node]:
    return isinstance(value, dict) and value.get("type") == "doc" and isinstance(value.get("content"), list)


def children(node: Mapping[str, Any]) -> list[Node]:
    found = node.get("content")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def safe_link(href: Any) -> str | None:
    """An address that may be clicked on; None for any other."""
    if not isinstance(href, str) or not href or len(href) > 4_000:
        return None
    plain = "".join(href.split()).lower()
    if plain.startswith(_SAFE) or ":" not in plain.split("/")[0]:
        return href
    return None


def count_blocks(tree: Mapping[str, Any]) -> int:
    """How many nodes there are below one, those of text not counted."""
    count = 0
    waiting = [tree]
    while waiting:
        found = [one for one in children(waiting.pop()) if one.get("type") != "text"]
        count += len(found)
        waiting.extend(found)
    return count


def plain_text(node: Mapping[str, Any]) -> str:
    """All text below a node."""
    out: list[str] = []
    waiting: list[Any] = [node]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, dict):
            continue
        value = one.get("text")
        if isinstance(value, str):
            out.append(value)
        elif one.get("type") == "hardBreak":
            out.append("\n")
        content = one.get("content")
        if isinstance(content, list):
            waiting.extend(reversed(content))
    return "".join(out)


def normal(value: Mapping[str, Any]) -> Node:
    """A tree of unknown origin as one that editors take whole."""
    return document(_Bringing().blocks(children(value), 0))


class _Bringing:
    """Brings one tree into form."""

    def __init__(self) -> None:
        self._left = MAX_NODES

    def blocks(self, nodes: list[Node], depth: int) -> list[Node]:
        out: list[Node] = []
        loose: list[Node] = []
        for node in nodes:
            kind = node.get("type")
            if kind in {"text", "hardBreak"}:
                loose.append(node)
                continue
            if loose:
                out.extend(self._paragraph("paragraph", {}, loose))
                loose = []
            out.extend(self._block(node, depth))
        if loose:
            out.extend(self._paragraph("paragraph", {}, loose))
        return out

    def _block(self, node: Node, depth: int) -> Iterator[Node]:
        self._left -= 1
        if self._left < 0:
            return
        kind, given = node.get("type"), node.get("attrs")
        attrs = given if isinstance(given, dict) else {}
        if depth >= MAX_DEPTH:
            yield from self._paragraph("paragraph", {}, [text(plain_text(node))])
        elif kind in _TEXTS:
            yield from self._paragraph(kind, attrs, children(node))
        elif kind == "horizontalRule":
            yield {"type": kind}
        elif kind == "image":
            yield from _image(attrs)
        elif isinstance(kind, str) and kind in LISTS:
            yield from self._list(kind, attrs, children(node), depth)
        elif kind == "blockquote":
            yield {"type": kind, "content": self.blocks(children(node), depth + 1) or [paragraph()]}
        elif kind == "table":
            yield from self._table(node, depth)
        elif kind == "mention":
            label = attrs.get("label") or attrs.get("id") or ""
            yield paragraph(text(f"@{label}"))
        elif children(node):
            # A node of another editor: what is in it stays.
            yield from self.blocks(children(node), depth + 1)

    def _paragraph(self, kind: str, attrs: Mapping[str, Any], nodes: list[Node]) -> Iterator[Node]:
        """One with its text; pictures in the text stand behind it, since editors have them as blocks."""
        content: list[Node] = []
        behind: list[Node] = []
        for node in nodes:
            self._left -= 1
            if self._left < 0:
                break
            if node.get("type") == "image":
                behind.extend(_image(node.get("attrs") or {}))
            else:
                content.extend(_inline(node, marked=kind != "codeBlock"))
        made: Node = {"type": kind}
        if kind == "heading":
            level = attrs.get("level")
            made["attrs"] = {"level": int(level) if isinstance(level, int | float) and 1 <= level <= 6 else 1}
        elif kind == "codeBlock":
            language = attrs.get("language")
            made["attrs"] = {"language": language[:100] if isinstance(language, str) and language else None}
            content = [text(plain_text({"content": content}))] if content else []
            content = [one for one in content if one["text"]]
        if content:
            made["content"] = content
        if content or not behind:
            yield made
        yield from behind

    def _list(self, kind: str, attrs: Mapping[str, Any], nodes: list[Node], depth: int) -> Iterator[Node]:
        items: list[Node] = []
        for node in nodes:
            inside = self.blocks(children(node) if node.get("type") in _BOXES else [node], depth + 2)
            if not inside or inside[0]["type"] != "paragraph":
                inside.insert(0, paragraph())
            item: Node = {"type": LISTS[kind], "content": inside}
            if kind == "taskList":
                item["attrs"] = {"checked": (node.get("attrs") or {}).get("checked") is True}
            items.append(item)
        if not items:
            return
        made: Node = {"type": kind, "content": items}
        if kind == "orderedList":
            start = attrs.get("start")
            made["attrs"] = {"start": start if isinstance(start, int) and 0 <= start < 10**9 else 1}
        yield made

    def _table(self, node: Node, depth: int) -> Iterator[Node]:
        rows: list[Node] = []
        for row in children(node):
            cells = []
            for cell in children(row):
                kind = cell.get("type")
                inside = self.blocks(children(cell), depth + 3) or [paragraph()]
                cells.append({"type": kind if kind == "tableHeader" else "tableCell", "content": inside})
            if cells:
                rows.append({"type": "tableRow", "content": cells})
        if rows:
            yield {"type": "table", "content": rows}


def _image(attrs: Any) -> Iterator[Node]:
    given = attrs if isinstance(attrs, dict) else {}
    src = given.get("src")
    if isinstance(src, str) and safe_link(src[:4_000]) is not None:
        texts = {name: given[name] for name in ("alt", "title") if isinstance(given.get(name), str)}
        yield {"type": "image", "attrs": {"src": src, **texts}}


def _inline(node: Node, *, marked: bool) -> Iterator[Node]:
    kind = node.get("type")
    if kind == "hardBreak":
        yield {"type": "hardBreak"} if marked else text("\n")
    elif kind == "text":
        value = node.get("text")
        if isinstance(value, str) and value:
            yield text(value.replace("\x00", ""), _marks(node.get("marks")) if marked else None)
    elif kind == "mention":
        attrs = node.get("attrs") or {}
        yield text(f"@{attrs.get('label') or attrs.get('id') or ''}")
    else:
        inside = plain_text(node)
        if inside:
            yield text(inside)


def _marks(given: Any) -> list[Node]:
    found: dict[str, Node] = {}
    for mark in given if isinstance(given, list) else ():
        kind = mark.get("type") if isinstance(mark, dict) else None
        if kind == "link":
            attrs = mark.get("attrs")
            href = safe_link(attrs.get("href")) if isinstance(attrs, dict) else None
            if href is not None:
                found[kind] = {"type": kind, "attrs": {"href": href}}
        elif kind in MARKS:
            found[kind] = {"type": kind}
    if "code" in found:
        # Editors allow no other mark on code.
        return [found["code"]]
    return [found[kind] for kind in MARKS if kind in found]
