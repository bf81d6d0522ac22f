"""What a question has attached, by the names of the wire: read once into values, each of a kind that this server knows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from open_webui.constants import MAX_ID
from open_webui.errors import BadRequest

Kind = Literal["file", "knowledge", "collection", "chat", "text"]
MOST: Final = 500
# What the wire's entries call it, and what it is here.
_KINDS: Final[Mapping[str, Kind]] = {
    "file": "file",
    "doc": "file",
    "audio": "file",
    "collection": "knowledge",
    "knowledge": "knowledge",
    "chat": "chat",
    "text": "text",
    "web_search": "text",
    "youtube": "text",
}
_LATER: Final = {"note": "Notes are", "folder": "Folders as attachments are"}
_PREFIX: Final = "file-"


class Attached(msgspec.Struct, frozen=True):
    """One attachment. entry: as the wire has it, which the answer's sources show.

    ids: of files, of a knowledge base, of a chat, or names of collections of the person's own. text: what it brings itself.
    whole: all of it is to be read, not what fits the question. own: the person attached it, and it is not of the model or
    the folder.
    """

    entry: dict[str, Any]
    kind: Kind
    ids: tuple[str, ...]
    text: str | None = None
    whole: bool = False
    own: bool = True

    @property
    def name(self) -> str:
        name = self.entry.get("name") or self.entry.get("url") or (self.ids[0] if self.ids else "")
        return str(name)[:500]


def parse(entries: Iterable[Mapping[str, Any]], *, own: bool = True) -> list[Attached]:
    """The attachments of a question, each once; pictures, which go to the model as they are, left out.

    Raises BadRequest for what is none, and for kinds that this server doesn't know.
    """
    found: dict[tuple[Any, ...], Attached] = {}
    for entry in entries:
        attached = _one(dict(entry), own)
        if attached is not None:
            found.setdefault((attached.kind, attached.ids, attached.text), attached)
    if len(found) > MOST:
        raise BadRequest(f"At most {MOST} things can be attached to a question.")
    return list(found.values())


def _one(entry: dict[str, Any], own: bool) -> Attached | None:
    given = entry.get("type") or "file"
    if not isinstance(given, str):
        raise BadRequest("The type of an attachment should be a text.")
    mime = entry.get("content_type")
    if given == "filesystem":
        # It lies on a terminal: the model is told its path (context/tools.py).
        return None
    if given == "image" or (isinstance(mime, str) and mime.startswith("image/")):
        return None
    if given in _LATER:
        raise BadRequest(f"{_LATER[given]} not part of this server yet.")
    kind = _KINDS.get(given)
    if kind is None:
        raise BadRequest(f"'{given[:50]}' is no kind of attachment that this server knows.")
    names = _texts(entry.get("collection_names") or entry.get("collection_name") or ())
    text = _content(entry) if kind == "text" else None
    whole = entry.get("context") == "full"
    if kind == "text":
        return Attached(_shown(entry), kind, names, text, whole or not names, own)
    ids = _texts(entry.get("id") or entry.get("url") or ())
    if not ids and names:
        kind, ids = ("file", _files(names)) if all(n.startswith(_PREFIX) for n in names) else ("collection", names)
    if not ids:
        raise BadRequest("An attachment should name what it is by its 'id'.")
    return Attached(_shown(entry), kind, ids, None, whole, own)


def _files(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.removeprefix(_PREFIX) for name in names)


def _texts(value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else [None]
    if not all(isinstance(v, str) and 0 < len(v) <= MAX_ID and "\x00" not in v for v in values):
        raise BadRequest(f"An attachment's ids should be texts of 1 to {MAX_ID} characters.")
    return tuple(dict.fromkeys(values))


def _content(entry: Mapping[str, Any]) -> str | None:
    """The text that an entry brings: its own, or that of the file in it."""
    file = entry.get("file")
    data = file.get("data") if isinstance(file, dict) else None
    for holder in (entry, data, entry.get("data")):
        text = holder.get("content") if isinstance(holder, dict) else None
        if isinstance(text, str) and text:
            return text
    return None


def _shown(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry without the text in it: sources are stored with each answer."""
    file = entry.get("file")
    shown = {name: value for name, value in entry.items() if name != "content"}
    if isinstance(file, dict) and isinstance(file.get("data"), dict):
        shown["file"] = file | {"data": {k: v for k, v in file["data"].items() if k != "content"}}
    return shown
