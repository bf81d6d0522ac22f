"""Brings a knowledge base of a running server to what a folder has: new files go up, changed ones take the place of old ones.

It speaks to the server over HTTP with an API key, as anybody could.
"""

import asyncio
import hashlib
import mimetypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from open_webui.env import Settings
from open_webui.errors import OuiError
from open_webui.internal.http import open_http

AT_ONCE: Final = 4
# Knowledge bases in one page of a list.
_PAGE: Final = 30
_PIECE: Final = 1024 * 1024
Tell = Callable[[str], None]


class SyncError(OuiError):
    """The sync can't go on; `detail` says why."""

    exit_code = 1


class Found(msgspec.Struct, frozen=True):
    """A file of the folder. path: of its directory in it, with slashes; "" for the folder itself. checksum: SHA-256."""

    file: Path
    filename: str
    path: str
    checksum: str
    size: int

    @property
    def name(self) -> str:
        return f"{self.path}/{self.filename}" if self.path else self.filename


class Result(msgspec.Struct):
    """How many files were sent and taken out, how many were as they should be, and why others were not sent."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    same: int = 0
    failed: list[str] = []


class Server:
    """The server's API for the owner of a key."""

    def __init__(self, http: aiohttp.ClientSession, url: str, key: str) -> None:
        self._http = http
        self._url = url.rstrip("/") + "/api/v1"
        self._headers = {"authorization": f"Bearer {key}"}

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        """The JSON that it answers. Raises SyncError with what it says where it refuses."""
        try:
            async with self._http.request(
                method, self._url + path, headers=self._headers, allow_redirects=False, **options
            ) as reply:
                answer = await reply.json(content_type=None)
                if reply.status == 200:
                    return answer
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise SyncError(
                f"The server at {self._url} could not be asked: {str(error) or type(error).__name__}."
            ) from None
        said = answer.get("detail") if isinstance(answer, dict) else None
        raise SyncError(f"The server refused ({reply.status}): {said or 'without a reason'}")


async def sync(
    settings: Settings,
    url: str,
    key: str,
    folder: Path,
    into: str,
    *,
    delete: bool = False,
    tell: Tell = lambda _: None,
) -> Result:
    """Brings the base of this name, which is made if there is none, to what the folder has. Raises SyncError.

    delete: what the folder doesn't have is taken out of the base. tell: hears what is done.
    """
    found = await asyncio.to_thread(lambda: list(_files(folder)))
    async with open_http(settings) as http:
        server = Server(http, url, key)
        base = await _base(server, into)
        manifest = [msgspec.structs.asdict(one) for one in found]
        for entry in manifest:
            del entry["file"]
        difference = await server.ask("POST", f"/knowledge/{base}/sync/diff", json={"manifest": manifest})
        return await _apply(server, base, found, difference, delete=delete, tell=tell)


def _files(folder: Path) -> Iterator[Found]:
    """The files of a folder and those in it, but for hidden ones and links. Raises SyncError."""
    if not folder.is_dir():
        raise SyncError(f"There is no folder {folder}.")
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = Path(place).relative_to(folder).as_posix()
        for name in sorted(names):
            file = Path(place) / name
            if name.startswith(".") or file.is_symlink() or not file.is_file():
                continue
            digest = hashlib.sha256()
            with file.open("rb") as content:
                while piece := content.read(_PIECE):
                    digest.update(piece)
            yield Found(file, name, "" if inside == "." else inside, digest.hexdigest(), file.stat().st_size)


async def _base(server: Server, name: str) -> str:
    """The id of the base of this name that one may change, a new one where there is none."""
    bases: list[str] = []
    for page in range(1, 1_000):
        query = {"query": name, "source": "local", "page": str(page)}
        items = (await server.ask("GET", "/knowledge/search", params=query))["items"]
        bases += [item["id"] for item in items if item["name"] == name and item["write_access"]]
        if len(items) < _PAGE:
            break
    if len(bases) > 1:
        raise SyncError(f"{len(bases)} knowledge bases are called {name!r}. Rename one of them.")
    if bases:
        return bases[0]
    made = await server.ask("POST", "/knowledge/create", json={"name": name, "description": ""})
    return str(made["id"])


async def _apply(server: Server, base: str, found: list[Found], difference: Any, *, delete: bool, tell: Tell) -> Result:
    result = Result(same=difference["unmodified_count"])
    directories: dict[str, str] = difference["directory_map"]
    for path in difference["mkdir"]:
        parent, _, name = path.rpartition("/")
        body = {"name": name, "parent_id": directories.get(parent)}
        directories[path] = (await server.ask("POST", f"/knowledge/{base}/dirs/create", json=body))["id"]
    stale = {(one["path"], one["filename"]): one["stale_file_id"] for one in difference["modified"]}
    added = {(one["path"], one["filename"]) for one in difference["added"]}
    wanted = iter([one for one in found if (one.path, one.filename) in added | stale.keys()])
    replaced: list[str] = []

    async def send() -> None:
        for one in wanted:
            old = stale.get((one.path, one.filename))
            try:
                await _upload(server, base, one, directories.get(one.path))
            except (SyncError, OSError) as error:
                result.failed.append(f"{one.name}: {error}")
                continue
            tell(one.name)
            if old is None:
                result.added += 1
            else:
                result.changed += 1
                replaced.append(old)

    await asyncio.gather(*(send() for _ in range(AT_ONCE)))
    surplus = [one["file_id"] for one in difference["deleted"]] if delete else []
    empty = difference["rmdir"] if delete else []
    if replaced or surplus or empty:
        # What is new is there before the old goes: no question finds neither.
        body = {"file_ids": replaced + surplus, "dir_ids": empty}
        await server.ask("POST", f"/knowledge/{base}/sync/cleanup", json=body)
    result.removed = len(surplus)
    return result


async def _upload(server: Server, base: str, one: Found, directory: str | None) -> None:
    kind = mimetypes.guess_type(one.filename)[0] or "application/octet-stream"
    with one.file.open("rb") as content:
        form = aiohttp.FormData()
        form.add_field("metadata", msgspec.json.encode({"knowledge_id": base, "directory_id": directory}).decode())
        form.add_field("file", content, filename=one.filename, content_type=kind)
        await server.ask("POST", "/files/", data=form)


async def reindex(settings: Settings, url: str, key: str, *, vectors: bool) -> str:
    """Has a running server make its index anew from the kept texts. vectors: these, too. Raises SyncError."""
    async with open_http(settings) as http:
        server = Server(http, url, key)
        await server.ask("POST", "/retrieval/reset/db" if vectors else "/knowledge/reindex")
    what = "All documents and their vectors are" if vectors else "All documents are"
    return f"{what} made anew in the background. What there is serves until then; the jobs are at {url}/api/v1/jobs."
