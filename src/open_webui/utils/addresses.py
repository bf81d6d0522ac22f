"""Where the content of files is, on the wire: addresses, and the places of documents that they stand in. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

MARK: Final = "/api/v1/files/"
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_ADDRESS: Final = re.compile(rf"{MARK}({_UUID})/content".encode())
_OF_ADDRESSES: Final = frozenset(
    bytes([c]) for c in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:/-]"
)
_URL: Final = re.compile(rf'"url":"({_UUID})"'.encode())
ID: Final = re.compile(_UUID)


def address(file_id: str) -> str:
    """Where a file's content is, on the wire."""
    return f"{MARK}{file_id}/content"


def id_in(url: object) -> str | None:
    """The id of the file that an address of this server leads to, None for another address."""
    found = _ADDRESS.fullmatch(url.encode()) if isinstance(url, str) and url.startswith(MARK) else None
    return None if found is None else found[1].decode()


def addresses_in(document: bytes) -> list[tuple[int, int, str]]:
    """Where in a JSON text files of this server are referred to, by address or as a url that is an id: (start, end, id),
    in order.
    """
    # Two searches, each for something that begins with a constant: one for either takes ten times as long.
    addresses = (match for match in _ADDRESS.finditer(document) if _is_ours(document, match))
    ids = _URL.finditer(document)
    return sorted(
        [(*match.span(), match[1].decode()) for match in addresses]
        + [(*match.span(1), match[1].decode()) for match in ids]
    )


def _is_ours(document: bytes, match: "re.Match[bytes]") -> bool:
    """Whether it is not the path of another server's address."""
    return document[max(0, match.start() - 1) : match.start()] not in _OF_ADDRESSES


def file_id_of(entry: Mapping[str, Any]) -> str | None:
    """The id of the file that an entry of a message's `files` is about, by its url: an address or the id itself."""
    url = entry.get("url")
    return url if isinstance(url, str) and ID.fullmatch(url) else id_in(url)


def ids_in(document: bytes) -> set[str]:
    """The ids of all files whose addresses stand in a JSON text."""
    return {match.decode() for match in _ADDRESS.findall(document)} if MARK.encode() in document else set()


def in_question(body: dict[str, Any]) -> None:
    """Puts the files of a question into the form in which pages show them: their id as `url`, with a `content_type`.

    A page asks for /api/v1/files/<url>, and for /content below that where there is a content type. What the type
    really is the reply says.
    """
    entries = body.get("files")
    for entry in entries if isinstance(entries, list) else ():
        file_id = file_id_of(entry) if isinstance(entry, dict) else None
        if file_id is not None:
            entry |= {"id": file_id, "url": file_id}
            if entry.get("type") == "image" and not str(entry.get("content_type") or "").startswith("image/"):
                entry["content_type"] = "image/png"
