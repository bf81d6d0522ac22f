"""Skills as people hand them around: a SKILL.md, a folder, an archive, an export. Read with bounds, and written."""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from open_webui.errors import BadRequest, TooLarge
from open_webui.schemas.skills import MAX_DESCRIPTION, PackedSkill
from open_webui.services import skill_files
from open_webui.services.skill_files import MAIN, Entries

MAX_SKILLS: Final = 100
MAX_ENTRIES: Final = 2_000
MAX_UNPACKED: Final = 64 * 2**20
NOTHING: Final = f"There is no skill in it: a skill is a folder with a file {MAIN}, or a text in Markdown."
TOO_MANY: Final = f"At most {MAX_SKILLS} skills are taken at once."
_ARCHIVES: Final = (".zip", ".skill")
_JUNK: Final = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", ".git"})
_LINK: Final = 0o120000
_KIND: Final = 0o170000
_ENCRYPTED: Final = 0x1 | 0x40
_UTF8: Final = 0x800
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENTRY: Final = b"PK\x01\x02"
_PIECE: Final = 2**20
_BROKEN: Final = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, OSError, RuntimeError, ValueError,
    OverflowError,
)  # fmt: skip
# What others than the caller see in an archive: one moment for all, so that the same skills are the same bytes.
_MOMENT: Final = (1980, 1, 1, 0, 0, 0)
Upload = tuple[str, bytes]


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A skill that came from elsewhere."""

    id: str
    name: str
    description: str | None
    meta: dict[str, Any]
    is_active: bool
    files: Entries


def read(uploads: Iterable[Upload]) -> list[Package]:
    """The skills in some files, each with its name or its path. Raises BadRequest, TooLarge."""
    found: list[Package] = []
    loose: list[Upload] = []
    room = _Room()
    for name, data in uploads:
        ending = name.lower()
        if ending.endswith(_ARCHIVES) and "/" not in name:
            found += _folders(_unpacked(name, data, room), _stem(name))
        elif ending.endswith(".json") and "/" not in name:
            found += _exported(name, data)
        else:
            loose.append((name, data))
        if len(found) > MAX_SKILLS:
            raise BadRequest(TOO_MANY)
    found += _loose(loose)
    if not found:
        raise BadRequest(NOTHING)
    if len(found) > MAX_SKILLS:
        raise BadRequest(TOO_MANY)
    return found


class _Room:
    """What may still be unpacked, over all archives of a request: entries, and bytes."""

    def __init__(self) -> None:
        self.entries = MAX_ENTRIES
        self.size = MAX_UNPACKED


def _loose(uploads: list[Upload]) -> list[Package]:
    """Of a folder that was chosen, or single texts."""
    plain = [one for one in uploads if "/" not in one[0]]
    named = {name.lower() for name, _ in plain}
    if MAIN.lower() in named:
        return _folders(uploads, "")
    texts = [_package(_stem(name), [(MAIN, data)]) for name, data in plain if name.lower().endswith(".md")]
    return texts + _folders([one for one in uploads if "/" in one[0]], "")


def _folders(files: list[Upload], otherwise: str) -> list[Package]:
    """A skill for each folder with a SKILL.md in it; what lies beside them is passed over. otherwise: the name of the whole."""
    roots = sorted(
        {name.rpartition("/")[0] for name, _ in files if name.rpartition("/")[2].lower() == MAIN.lower()}, key=len
    )
    outer: list[str] = []
    for root in roots:
        if not any(_is_below(root, other) for other in outer):
            outer.append(root)
        if len(outer) > MAX_SKILLS:
            raise BadRequest(TOO_MANY)
    found = []
    for root in outer:
        inside = [(name[len(root) + 1 :] if root else name, data) for name, data in files if _is_below(name, root)]
        found.append(_package(root.rpartition("/")[2] or otherwise, inside))
    return found


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")


def _package(folder: str, files: list[Upload]) -> Package:
    entries = []
    for name, data in files:
        path = MAIN if name.lower() == MAIN.lower() else skill_files.checked_path(name)
        entries.append(skill_files.entry(path, skill_files.main_of(data).encode() if path == MAIN else data))
    checked = skill_files.checked(entries)
    said = skill_files.front_matter((checked[MAIN].data or b"").decode())
    name = " ".join((said.get("name") or folder or "Skill").split())[:200]
    description = said.get("description", "")[:MAX_DESCRIPTION] or None
    return Package(
        id=slug(folder or name),
        name=name,
        description=description,
        meta={"i18n": None, "tags": []},
        is_active=True,
        files=checked,
    )


def slug(name: str) -> str:
    """An id that is made of a name."""
    return re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:100] or "skill"


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


# Exports


def _exported(name: str, data: bytes) -> list[Package]:
    """The skills of an export. Raises BadRequest."""
    try:
        value = msgspec.json.decode(data)
        entries = value if isinstance(value, list) else [value]
        forms = [PackedSkill.model_validate(one) for one in entries[: MAX_SKILLS + 1]]
    except (msgspec.DecodeError, RecursionError, ValidationError) as error:
        raise BadRequest(f"{name[:100]!r} is no export of skills: {_said(error)}") from None
    found = []
    for form in forms:
        files = skill_files.described(form)
        if files is None:
            raise BadRequest(f"{name[:100]!r}: {skill_files.NO_TEXT}")
        found.append(
            Package(
                id=form.id if form.id and skill_files.ID.fullmatch(form.id) else slug(form.id or form.name),
                name=form.name,
                description=form.description,
                meta=form.meta.model_dump(),
                is_active=form.is_active is not False,
                files=files,
            )
        )
    return found


def _said(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "it is no JSON."
    first = error.errors(include_url=False, include_input=False)[0]
    return f"'{'.'.join(str(part) for part in first['loc'])}': {first['msg']}."


# Archives


def _unpacked(name: str, data: bytes, room: _Room) -> list[Upload]:
    """The files of an archive by their paths. Raises BadRequest, TooLarge; then nothing of it is taken."""
    label = repr(name[:100])
    # Each entry is noted with these bytes: what lists more than is taken is not even listed.
    room.entries -= data.count(_ENTRY)
    if room.entries < 0:
        raise TooLarge(f"With {label} there are more than {MAX_ENTRIES:,} files in what was sent.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _entries(archive, label, room)
    except UnicodeDecodeError:
        raise BadRequest(f"{label} has a file whose name is no UTF-8.") from None
    except _BROKEN:
        raise BadRequest(f"{label} is no ZIP archive, or it is damaged.") from None


def _entries(archive: zipfile.ZipFile, label: str, room: _Room) -> list[Upload]:
    found: dict[str, bytes] = {}
    for info in archive.infolist():
        path = _path(info)
        if info.is_dir() or _JUNK.intersection(path.split("/")):
            continue
        _check(info, path, label)
        if path in found:
            raise BadRequest(f"{label} has {path[:100]!r} in it twice.")
        found[path] = _bytes(archive, info, room.size, label)
        room.size -= len(found[path])
    return list(found.items())


def _path(info: zipfile.ZipInfo) -> str:
    """Its name. Many write UTF-8 without saying so."""
    if info.flag_bits & _UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _check(info: zipfile.ZipInfo, path: str, label: str) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise BadRequest(f"{label} is encrypted. Unpack it, and pack it without a password.")
    if (info.external_attr >> 16) & _KIND == _LINK:
        raise BadRequest(f"{label} has a link in it ({path[:100]!r}). A skill has files only.")
    if info.compress_type not in _METHODS:
        raise BadRequest(f"{label} is packed in a way that is not read here. Pack it as an ordinary ZIP archive.")
    if path.startswith("/") or "\\" in path or ".." in path.split("/"):
        raise BadRequest(f"{label} has a file that would leave its folder ({path[:100]!r}).")


def _bytes(archive: zipfile.ZipFile, info: zipfile.ZipInfo, left: int, label: str) -> bytes:
    """What stands in an entry: read piece by piece, whatever the archive says of its size."""
    out = bytearray()
    with archive.open(info) as file:
        while piece := file.read(_PIECE):
            out += piece
            if len(out) > left:
                raise TooLarge(
                    f"With {label} there are more than {MAX_UNPACKED // 2**20} MB in what was sent, unpacked."
                )
    return bytes(out)


def write(skills: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """A ZIP archive of skills by the names of their folders, each with its files by their paths."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, files in skills.items():
            for path, data in files.items():
                info = zipfile.ZipInfo(f"{folder}/{path}", _MOMENT)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                archive.writestr(info, data)
    return out.getvalue()
