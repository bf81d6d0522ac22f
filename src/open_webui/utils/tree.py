"""Message trees as pages send them and as they are kept: checked, repaired, put in order. Pure functions, no input is trusted."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from open_webui.utils import addresses

MAX_DEPTH: Final = 64
MAX_ROLE: Final = 32
# Seconds since the epoch that fit every database and a JavaScript date.
MAX_TIME: Final = 8_640_000_000_000
# Fields that have a place of their own, or are the server's to say.
_OWN: Final = frozenset(
    {"id", "parentId", "childrenIds", "role", "content", "done", "model", "timestamp", "user", "user_id"}
)


_LISTS: Final[dict[str, type]] = {
    "statusHistory": dict, "sources": dict, "files": dict, "code_executions": dict, "output": dict, "embeds": str,
    "followUps": str,
}  # fmt: skip
# An address with a scheme that is none of the web's.
_ADDRESS: Final = re.compile(r"(?!https?:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)


class BadTree(ValueError):
    """A message tree can't be taken; the text says which field of which message and why. `loc` is its path."""

    def __init__(self, loc: Sequence[str], problem: str) -> None:
        super().__init__(f"{'.'.join(loc)} {problem}")
        self.loc = tuple(loc)
        self.problem = problem


class Fields(msgspec.Struct):
    """A wire message, taken apart. None means that the page did not say.

    content: the text. body: all other fields, verbatim, with the content itself where it is a list of parts.
    children: the ids that the message calls its children, in their order.
    """

    id: str
    parent: str | None
    has_parent: bool
    children: list[str]
    role: str | None
    content: str | None
    done: bool | None
    model: str | None
    at: int | None
    body: dict[str, Any]


def take_apart(given_id: str, message: Any, *, max_id: int) -> Fields:
    """Checks one wire message and splits it into columns and the rest. Raises BadTree. NUL characters are removed."""
    loc = ("chat", "history", "messages", given_id[:64])
    if not isinstance(message, dict):
        raise BadTree(loc, "must be an object")
    if not given_id or len(given_id) > max_id:
        raise BadTree(loc, f"must have an id of 1 to {max_id} characters")
    parent = message.get("parentId")
    if parent is not None and not isinstance(parent, str):
        raise BadTree((*loc, "parentId"), "must be an id or null")
    children = message.get("childrenIds")
    if children is None:
        children = []
    elif not isinstance(children, list) or not all(isinstance(c, str) for c in children):
        raise BadTree((*loc, "childrenIds"), "must be a list of ids")
    role = message.get("role")
    if role is not None and (not isinstance(role, str) or not 0 < len(role) <= MAX_ROLE):
        raise BadTree((*loc, "role"), f"must be a word of up to {MAX_ROLE} characters")
    done = message.get("done")
    if done is not None and not isinstance(done, bool):
        raise BadTree((*loc, "done"), "must be true or false")
    body = {key: value for key, value in message.items() if key not in _OWN}
    check_depth(body, loc)
    _check_lists(body, loc)
    if role == "user":
        addresses.in_question(body)
    content = _content(message.get("content"), body, loc)
    if done is not None and role != "assistant":
        body["done"] = done
    model, at = message.get("model"), message.get("timestamp")
    if model is not None and not isinstance(model, str):
        body["model"], model = model, None
    if at is not None and not _is_time(at):
        body["timestamp"], at = at, None
    return Fields(
        given_id.replace("\x00", ""), parent, "parentId" in message, children, role, content, done, model, at, body
    )


def _check_lists(body: dict[str, Any], loc: Sequence[str]) -> None:
    for name in _LISTS:
        given = body.get(name)
        if given is not None and (problem := problem_of(name, given)):
            raise BadTree((*loc, name), problem)


def problem_of(name: str, given: Any) -> str | None:
    """What is wrong with a message's list of this name, None where nothing is or any value will do."""
    if name not in _LISTS or sound(name, given) == given:
        return None
    if name == "embeds":
        return "must be a list of addresses of the web, or of HTML"
    if name == "output" and isinstance(given, list) and all(isinstance(item, dict) for item in given):
        return "must have items whose embeds are addresses of the web, or HTML"
    return "must be a list of " + ("objects" if _LISTS[name] is dict else "texts")


def sound(name: str, given: Any) -> list[Any]:
    """The entries of a message's list that pages can walk without a look: of the kind they expect, and safe to draw.

    An embed is an address of the web, or a document that a page fences in (a frame without its origin).
    """
    entries: list[Any] = [one for one in given if isinstance(one, _LISTS[name])] if isinstance(given, list) else []
    if name == "embeds":
        return [one for one in entries if not _ADDRESS.match("".join(c for c in one if c > " "))]
    if name == "output":
        return [i | {"embeds": sound("embeds", i["embeds"])} if "embeds" in i else i for i in entries]
    return entries


def mended(message: Any) -> dict[str, Any] | None:
    """A message of another program's export with only what `take_apart` takes, None for one that is no message.

    Ids that are none are left out, a role or a state that is none is as if it were not given, other values become text.
    """
    if not isinstance(message, dict):
        return None
    out = dict(message)
    if not isinstance(out.get("parentId"), str | None):
        out["parentId"] = None
    children = out.get("childrenIds")
    if children is not None:
        out["childrenIds"] = [c for c in children if isinstance(c, str)] if isinstance(children, list) else []
    role = out.get("role")
    if not isinstance(role, str) or not 0 < len(role) <= MAX_ROLE:
        out.pop("role", None)
    if not isinstance(out.get("done"), bool | None):
        del out["done"]
    for name in _LISTS:
        if out.get(name) is not None:
            out[name] = sound(name, out[name])
    content = out.get("content")
    if not isinstance(content, str | list | None):
        out["content"] = _written(content)
    return out


def _written(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        return ""


def _content(given: Any, body: dict[str, Any], loc: Sequence[str]) -> str | None:
    if given is None or isinstance(given, str):
        return given
    if not isinstance(given, list):
        raise BadTree((*loc, "content"), "must be a text or a list of parts")
    check_depth(given, loc)
    body["content"] = given
    return text_of(given)


def text_of(content: Any) -> str:
    """The text of a content: itself, or the texts of its parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [p.get("text") for p in content if isinstance(p, dict)]
    return "\n".join(t for t in texts if isinstance(t, str))


def _is_time(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TIME


def check_depth(value: Any, loc: Sequence[str], limit: int = MAX_DEPTH) -> None:
    """Raises BadTree for a value nested deeper than the limit. Walks level by level, so that nothing recurses."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        if not level:
            return
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
    if level:
        raise BadTree(loc, "is nested too deeply")


def repair(parents: Mapping[str, str | None]) -> dict[str, str | None]:
    """The same tree with every parent known and every walk to a root ending.

    An unknown parent becomes None; of a cycle, the message that comes first in the mapping becomes a root.
    """
    sound: dict[str, str | None] = {i: p if p is not None and p in parents else None for i, p in parents.items()}
    order = {i: k for k, i in enumerate(sound)}
    ended: set[str] = set()
    for start in sound:
        path: list[str] = []
        on_path: set[str] = set()
        node: str | None = start
        while node is not None and node not in ended and node not in on_path:
            path.append(node)
            on_path.add(node)
            node = sound[node]
        if node is not None and node in on_path:
            sound[min(path[path.index(node) :], key=order.__getitem__)] = None
        ended.update(path)
    return sound


def children_of(parents: Mapping[str, str | None]) -> dict[str, list[str]]:
    """The children of every message, in the mapping's order."""
    children: dict[str, list[str]] = {i: [] for i in parents}
    for i, parent in parents.items():
        if parent is not None and parent in children:
            children[parent].append(i)
    return children


def parents_of(fields: Iterable[Fields]) -> dict[str, str | None]:
    """Who each message's parent is: what it says itself, else the message that calls it a child. Not repaired yet."""
    given = list(fields)
    claimed = {child: f.id for f in given for child in f.children}
    return {f.id: f.parent if f.has_parent else claimed.get(f.id) for f in given}


def in_order(fields: Sequence[Fields]) -> list[Fields]:
    """The messages in the given order, but brothers in the order in which their parent names them.

    Rows keep this order, and the order of `childrenIds` is read from it.
    """
    place = {f.id: k for k, f in enumerate(fields)}
    out = list(fields)
    seen: set[str] = set()
    for f in fields:
        named = [c for c in dict.fromkeys(f.children) if c in place and c not in seen]
        seen.update(named)
        for slot, child in zip(sorted(place[c] for c in named), named, strict=True):
            out[slot] = fields[place[child]]
    return out


def linear(messages: Sequence[Any]) -> dict[str, Any]:
    """A history (messages by id) of a plain list, each message the child of the one before. Old exports have only that."""
    history: dict[str, Any] = {}
    before: str | None = None
    for k, message in enumerate(messages):
        if not isinstance(message, dict):
            raise BadTree(("chat", "messages", str(k)), "must be an object")
        given = message.get("id")
        key = given if isinstance(given, str) and given and given not in history else f"m{k}"
        history[key] = {**message, "id": key, "parentId": before, "childrenIds": []}
        before = key
    return history
