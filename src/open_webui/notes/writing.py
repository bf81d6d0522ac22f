"""A tree of `nodes` as Markdown and as HTML. Nodes that are not known here keep their text."""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from open_webui.notes.nodes import MAX_DEPTH, Node, children, plain_text, safe_link

# What would be read as a mark. An underscore inside a word is none.
_SIGNS: Final = re.compile(r"[\\`*]|~(?=~)|(?<![^\W_])_|_(?![^\W_])|<(?=[a-z/])")
_LINKED: Final = re.compile(r"\[")
# What would begin another block, at the beginning of a line.
_STARTS: Final = re.compile(
    r"^(?=[#>+-](?:[ \t]|$)|#{2,6}(?:[ \t]|$)|-{3,}[ \t]*$|~{3,}|\|)|^(\d{1,9})(?=[.)](?:[ \t]|$))"
)
_MARKS: Final[Mapping[str, tuple[str, str]]] = {
    "bold": ("**", "**"), "italic": ("*", "*"), "strike": ("~~", "~~"), "underline": ("<u>", "</u>"),
    "highlight": ("<mark>", "</mark>"),
}  # fmt: skip
_TAGS: Final[Mapping[str, str]] = {
    "bold": "strong", "italic": "em", "strike": "s", "underline": "u", "highlight": "mark", "code": "code",
}  # fmt: skip


def to_markdown(tree: Mapping[str, Any]) -> str:
    """The text of a tree."""
    return blocks_to_markdown(children(tree))


def blocks_to_markdown(nodes: Sequence[Node], depth: int = 0) -> str:
    """Empty paragraphs, which an editor has between others, are nothing."""
    return "\n\n".join(part for node in nodes if (part := _block(node, depth)))


def _attr(node: Mapping[str, Any], name: str) -> Any:
    attrs = node.get("attrs")
    return attrs.get(name) if isinstance(attrs, dict) else None


def _whole(value: Any, otherwise: int) -> int:
    """A number as JavaScript has it."""
    return int(value) if isinstance(value, int | float) and 0 <= value < 10**9 else otherwise


def _block(node: Node, depth: int) -> str:
    if depth > MAX_DEPTH:
        return plain_text(node)
    write = _BLOCKS.get(str(node.get("type")))
    if write is not None:
        return write(node, depth)
    if any(one.get("type") == "text" for one in children(node)):
        return _paragraph(node, depth)
    return blocks_to_markdown(children(node), depth + 1)


def _heading(node: Node, depth: int) -> str:  # noqa: ARG001 - as all of them
    return f"{'#' * _level(node)} {_inline(node).replace(chr(10), ' ')}".rstrip()


def _level(node: Node) -> int:
    return min(max(_whole(_attr(node, "level"), 1), 1), 6)


def _quote(node: Node, depth: int) -> str:
    return _indented(blocks_to_markdown(children(node), depth + 1), "> ", "> ")


def _one_item(node: Node, depth: int) -> str:
    return _indented(_item(node, depth), "- ", "  ")


def _paragraph(node: Node, depth: int) -> str:  # noqa: ARG001 - as all of them
    return "\n".join(_STARTS.sub(_escaped, line) for line in _inline(node).split("\n")).strip()


def _escaped(found: "re.Match[str]") -> str:
    return f"{found[1]}\\" if found[1] else "\\"


def _code_block(node: Node, depth: int) -> str:  # noqa: ARG001 - as all of them
    code = plain_text(node)
    longest = max((len(run) for run in re.findall("`{3,}", code)), default=2)
    language = _attr(node, "language")
    fence = "`" * (longest + 1)
    return f"{fence}{language if isinstance(language, str) else ''}\n{code}\n{fence}"


def _image(node: Node, depth: int = 0) -> str:  # noqa: ARG001 - as all of them
    src, alt = _attr(node, "src"), _attr(node, "alt")
    shown = alt.replace("[", "\\[").replace("]", "\\]").replace("\n", " ") if isinstance(alt, str) else ""
    return f"![{shown}]({_address(src)})" if isinstance(src, str) else ""


def _address(href: str) -> str:
    return f"<{href}>" if re.search(r"[\s()]", href) else href


def _indented(text: str, first: str, rest: str) -> str:
    lines = text.split("\n")
    return "\n".join(
        (first if n == 0 else rest if line else rest.rstrip()) + line for n, line in enumerate(lines)
    ).rstrip()


def _item(node: Node, depth: int) -> str:
    """An item's text. Lists in it stand close to what is before them."""
    out = ""
    for n, one in enumerate(children(node)):
        part = _block(one, depth + 2)
        if n and not part:
            continue
        if n:
            out += "\n" if one.get("type") in {"bulletList", "orderedList", "taskList"} else "\n\n"
        out += part
    return out


def _list(node: Node, depth: int) -> str:
    out = []
    number = _whole(_attr(node, "start"), 1)
    for item in children(node):
        if node["type"] == "orderedList":
            mark = f"{number}. "
            number += 1
        elif node["type"] == "taskList":
            mark = "- [x] " if _attr(item, "checked") is True else "- [ ] "
        else:
            mark = "- "
        width = 2 if node["type"] != "orderedList" else len(mark)
        out.append(_indented(_item(item, depth), mark, " " * width))
    return "\n".join(out)


def _table(node: Node, depth: int) -> str:  # noqa: ARG001 - as all of them
    rows = []
    for row in children(node):
        cells = ["<br>".join(filter(None, map(_inline, children(cell)))) for cell in children(row)]
        rows.append([cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells])
    if not rows:
        return ""
    width = max(map(len, rows))
    lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in rows]
    return "\n".join([lines[0], f"|{' --- |' * width}", *lines[1:]])


def _rule(node: Node, depth: int) -> str:  # noqa: ARG001 - as all of them
    return "---"


_BLOCKS: Final[Mapping[str, Callable[[Node, int], str]]] = {
    "paragraph": _paragraph, "heading": _heading, "codeBlock": _code_block, "horizontalRule": _rule, "image": _image,
    "blockquote": _quote, "bulletList": _list, "orderedList": _list, "taskList": _list, "listItem": _one_item,
    "taskItem": _one_item, "table": _table,
}  # fmt: skip


def _inline(node: Mapping[str, Any]) -> str:
    out: list[str] = []
    for one in children(node):
        kind = one.get("type")
        if kind == "text" and isinstance(one.get("text"), str):
            out.append(_marked(one["text"], _marks(one)))
        elif kind == "hardBreak":
            out.append("\n")
        elif kind == "image":
            out.append(_image(one))
        elif kind == "mention":
            out.append(f"@{_attr(one, 'label') or _attr(one, 'id') or ''}")
        else:
            out.append(_plain(plain_text(one)))
    return "".join(out)


def _marks(node: Mapping[str, Any]) -> dict[str, Any]:
    """The marks of a text by their types, each with its address if it is a link."""
    found = {}
    given = node.get("marks")
    for mark in given if isinstance(given, list) else ():
        if isinstance(mark, dict) and isinstance(mark.get("type"), str):
            found[mark["type"]] = _attr(mark, "href")
    return found


def _plain(words: str) -> str:
    """Words in which nothing is a sign."""
    out = _SIGNS.sub(r"\\\g<0>", words)
    return _LINKED.sub(r"\\\g<0>", out) if "](" in out else out


def _marked(words: str, marks: Mapping[str, Any]) -> str:
    if "code" in marks:
        runs = re.findall("`+", words)
        ticks = "`" * (max(map(len, runs), default=0) + 1)
        pad = " " if words.startswith("`") or words.endswith("`") else ""
        out = f"{ticks}{pad}{words}{pad}{ticks}"
    else:
        out = _plain(words)
        core = out.strip()
        if core:
            lead, tail = out[: len(out) - len(out.lstrip())], out[len(out.rstrip()) :]
            for name, (begin, end) in _MARKS.items():
                if name in marks:
                    core = f"{begin}{core}{end}"
            out = f"{lead}{core}{tail}"
    href = marks.get("link")
    if isinstance(href, str) and safe_link(href) is not None and out.strip():
        out = f"[{out}]({_address(href)})"
    return out


# HTML


def to_html(tree: Mapping[str, Any]) -> str:
    """The text of a tree. All of it is escaped, and no address in it runs anything."""
    return "".join(_html(node, 0) for node in children(tree))


_ELEMENTS: Final[Mapping[str, str]] = {
    "paragraph": "p", "blockquote": "blockquote", "bulletList": "ul", "listItem": "li", "tableRow": "tr", "tableHeader": "th",
    "tableCell": "td",
}  # fmt: skip


def _html(node: Node, depth: int) -> str:
    kind = str(node.get("type"))
    if depth > MAX_DEPTH + 10:
        return html.escape(plain_text(node))
    alone = _ALONE.get(kind)
    if alone is not None:
        return alone(node)
    inside = "".join(_html(one, depth + 1) for one in children(node))
    opening, closing = _OPENED[kind](node) if kind in _OPENED else ("", "")
    if kind in _ELEMENTS:
        opening, closing = f"<{_ELEMENTS[kind]}>", f"</{_ELEMENTS[kind]}>"
    return f"{opening}{inside}{closing}"


def _text_html(node: Node) -> str:
    return _marked_html(str(node.get("text", "")), _marks(node))


def _image_html(node: Node) -> str:
    src = safe_link(_attr(node, "src"))
    alt = html.escape(str(_attr(node, "alt") or ""))
    return "" if src is None else f'<img src="{html.escape(src)}" alt="{alt}">'


def _code_html(node: Node) -> str:
    language = _attr(node, "language")
    shown = f' class="language-{html.escape(language)}"' if isinstance(language, str) and language else ""
    return f"<pre><code{shown}>{html.escape(plain_text(node), quote=False)}</code></pre>"


def _mention_html(node: Node) -> str:
    return html.escape(f"@{_attr(node, 'label') or _attr(node, 'id') or ''}")


_ALONE: Final[Mapping[str, Callable[[Node], str]]] = {
    "text": _text_html, "hardBreak": lambda _: "<br>", "horizontalRule": lambda _: "<hr>", "image": _image_html,
    "codeBlock": _code_html, "mention": _mention_html,
}  # fmt: skip


def _heading_tags(node: Node) -> tuple[str, str]:
    return f"<h{_level(node)}>", f"</h{_level(node)}>"


def _ordered_tags(node: Node) -> tuple[str, str]:
    start = _whole(_attr(node, "start"), 1)
    return ("<ol>" if start == 1 else f'<ol start="{start}">'), "</ol>"


def _task_tags(node: Node) -> tuple[str, str]:
    checked = "true" if _attr(node, "checked") is True else "false"
    return f'<li data-type="taskItem" data-checked="{checked}">', "</li>"


_OPENED: Final[Mapping[str, Callable[[Node], tuple[str, str]]]] = {
    "heading": _heading_tags, "orderedList": _ordered_tags, "taskItem": _task_tags,
    "taskList": lambda _: ('<ul data-type="taskList">', "</ul>"), "table": lambda _: ("<table><tbody>", "</tbody></table>"),
}  # fmt: skip


def _marked_html(words: str, marks: Mapping[str, Any]) -> str:
    out = html.escape(words, quote=False)
    for name, tag in _TAGS.items():
        if name in marks:
            out = f"<{tag}>{out}</{tag}>"
    href = safe_link(marks.get("link"))
    if "link" in marks and href is not None:
        out = f'<a target="_blank" rel="noopener noreferrer nofollow" href="{html.escape(href)}">{out}</a>'
    return out
