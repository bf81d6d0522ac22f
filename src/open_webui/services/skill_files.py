"""The files of a skill as values: checked paths, bounds, and what changes of them come to. Nothing here reads a database."""

import base64
import binascii
import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest, NotFound
from open_webui.schemas import skills as schemas

MAIN: Final = "SKILL.md"
MAX_FILES: Final = 200
# Bytes of SKILL.md, and of all files together.
MAX_MAIN: Final = 2**20
MAX_ALL: Final = 10 * 2**20
MAX_PATH: Final = 200
NO_TEXT: Final = f"A skill has a text: send `content`, or a file {MAIN}."
NO_MAIN: Final = f"A skill has a file {MAIN}: it can't be removed or renamed."
NOT_UTF8: Final = f"{MAIN} is no text in UTF-8."
MAIN_TOO_LONG: Final = f"{MAIN} may have {MAX_MAIN // 1024:,} KB."
TOO_MANY: Final = f"A skill may have {MAX_FILES} files."
TOO_LARGE: Final = f"The files of a skill may have {MAX_ALL // 2**20} MB together."
NO_SUCH_FILE: Final = "There is no such file in this version of the skill."
# What a skill may be called by.
ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")
_FORBIDDEN: Final = re.compile(r'[\x00-\x1f\x7f\\<>:"|?*]')
_KEY: Final = re.compile(r"([A-Za-z][A-Za-z0-9_-]*):(?:\s+(.*))?$")
Wire = dict[str, Any]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A file. encoding: "base64" for what is no text. data: what stands in it; None where the database has it by its hash."""

    path: str
    size: int
    encoding: str | None
    hash: str
    data: bytes | None = None


Entries = dict[str, Entry]


def checked_path(path: str) -> str:
    """A path below the skill's own folder. Raises BadRequest."""
    path = unicodedata.normalize("NFC", path)
    shown = repr(path[:100])
    if not path or len(path) > MAX_PATH:
        raise BadRequest(f"The name of a file has 1 to {MAX_PATH} characters; {shown} has {len(path)}.")
    if _FORBIDDEN.search(path) or not path.isprintable():
        raise BadRequest(f"{shown} has a character in it that no file of a skill may have in its name.")
    if any(part in {"", ".", ".."} or part != part.strip() for part in path.split("/")):
        raise BadRequest(f"{shown} does not name a file in the skill's own folder.")
    return path


def entry(path: str, data: bytes) -> Entry:
    """A file with this in it."""
    encoding = None if is_text(data) else "base64"
    return Entry(path=path, size=len(data), encoding=encoding, hash=hashlib.sha256(data).hexdigest(), data=data)


def is_text(data: bytes) -> bool:
    try:
        return "\x00" not in data.decode()
    except UnicodeDecodeError:
        return False


def main_of(data: bytes) -> str:
    """The text of a SKILL.md. Raises BadRequest."""
    if len(data) > MAX_MAIN:
        raise BadRequest(MAIN_TOO_LONG)
    try:
        return data.decode().replace("\x00", "").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise BadRequest(NOT_UTF8) from None


def checked(entries: Iterable[Entry]) -> Entries:
    """Files that are going to be kept together, SKILL.md first. Raises BadRequest."""
    found: Entries = {}
    for one in entries:
        if one.path in found:
            raise BadRequest(f"{one.path!r} is there twice.")
        found[one.path] = one
        if len(found) > MAX_FILES:
            raise BadRequest(TOO_MANY)
    if sum(one.size for one in found.values()) > MAX_ALL:
        raise BadRequest(TOO_LARGE)
    folders = {"/".join(parts[:n]) for path in found for parts in [path.split("/")] for n in range(1, len(parts))}
    if clash := sorted(folders & found.keys()):
        raise BadRequest(f"{clash[0]!r} is a file and a folder at once.")
    return {path: found[path] for path in sorted(found, key=lambda path: (path != MAIN, path))}


# From and to the wire


def sent(path: str, content: str, encoding: str | None) -> Entry:
    """A file of a request. Raises BadRequest."""
    path = checked_path(path)
    try:
        data = base64.b64decode(content, validate=True) if encoding == "base64" else content.encode()
    except (binascii.Error, ValueError):
        raise BadRequest(f"What was sent of {path!r} can't be read.") from None
    if path == MAIN:
        data = main_of(data).encode()
    return entry(path, data)


def described(form: schemas.Described) -> Entries | None:
    """The files that a form names, all of them; None where it names none. Raises BadRequest."""
    files = form.files if form.files is not None else None if form.data is None else form.data.files
    if files is None and form.content is None:
        return None
    entries = [sent(one.path, one.content, one.encoding) for one in files or ()]
    if form.content is not None:
        entries = [one for one in entries if one.path != MAIN] + [sent(MAIN, form.content, None)]
    found = checked(entries)
    if MAIN not in found:
        raise BadRequest(NO_TEXT)
    return found


def changed(entries: Entries, operations: Collection[schemas.Operation]) -> Entries:
    """The files after some changes, one after the other. Raises BadRequest, NotFound."""
    out = dict(entries)
    for one in operations:
        path = checked_path(one.path)
        if one.op == "put":
            out[path] = sent(path, one.content or "", one.encoding)
            continue
        if path == MAIN:
            raise BadRequest(NO_MAIN)
        if path not in out:
            raise NotFound(f"There is no file {path!r} in this skill.")
        moved = out.pop(path)
        if one.op == "move":
            to = checked_path(one.destination or "")
            if to in out:
                raise BadRequest(f"There is a file {to!r} already.")
            out[to] = msgspec.structs.replace(moved, path=to)
    return checked(out.values())


def stored(content: str, files: Iterable[Any]) -> Entries:
    """The files of a row or a version: SKILL.md with its text, the others without."""
    others = [msgspec.convert(one, Entry) for one in files]
    return {one.path: one for one in (entry(MAIN, content.encode()), *others)}


def kept(entries: Mapping[str, Entry]) -> list[Wire]:
    """The files beside SKILL.md as rows and versions note them."""
    fields = ("path", "size", "encoding", "hash")
    return [{name: getattr(one, name) for name in fields} for one in entries.values() if one.path != MAIN]


def listed(entries: Mapping[str, Entry]) -> list[Wire]:
    """The files without what stands in them."""
    return [{"path": one.path, "size": one.size, "encoding": one.encoding} for one in entries.values()]


def shown(path: str, data: bytes) -> Wire:
    """A file with what stands in it."""
    if is_text(data):
        return {"path": path, "content": data.decode()}
    return {"path": path, "content": base64.b64encode(data).decode(), "encoding": "base64"}


# What a SKILL.md says of itself


def front_matter(text: str) -> dict[str, str]:
    """The lines `name: value` between two `---` at the beginning of a text: plain, quoted and folded ones."""
    lines = text.split("\n", 400)
    if lines[0].strip() != "---":
        return {}
    found: dict[str, str] = {}
    last = ""
    for line in lines[1:]:
        if line.strip() == "---":
            return {key: value.strip() for key, value in found.items()}
        named = _KEY.match(line.rstrip())
        if named is not None:
            last, value = named[1].lower(), (named[2] or "").strip()
            found[last] = "" if value in {">", "|", ">-", "|-"} else _unquoted(value)
        elif last and line[:1] in {" ", "\t"}:
            found[last] = f"{found[last]} {line.strip()}"
    return {}


def _unquoted(value: str) -> str:
    quote = value[:1]
    return value[1:-1] if len(value) > 1 and quote in {'"', "'"} and value[-1] == quote else value


def with_front_matter(text: str, name: str, description: str | None) -> str:
    """A SKILL.md for others to read: it says its name and description, as the format of skills wants."""
    if front_matter(text):
        return text
    told = " ".join((description or "").split())
    quoted = [part.replace("\\", "").replace('"', "'") for part in (name, told)]
    return f'---\nname: "{quoted[0]}"\ndescription: "{quoted[1]}"\n---\n\n{text}'
