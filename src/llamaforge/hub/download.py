"""One file over HTTP: resumed where it broke off, checked, and under its final name only when it is whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from llamaforge.exceptions import DownloadError, ParameterError

Progress = Callable[[int, int | None], None]
"""Told of bytes that are here, and of all bytes where that is known. What it raises ends the download, to be resumed."""

TIMEOUT = 15.0
"""How long a server may be silent, in seconds."""

RETRIES = 4
"""How often a download that was cut off goes on by itself; each time that bytes came counts anew."""

_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class Download:
    """What to fetch. sha256: hexadecimal, or None where nobody knows it. size: in bytes. headers: not sent elsewhere."""

    url: str
    sha256: str | None = None
    size: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def fetch(
    wanted: Download,
    target: Path,
    progress: Progress | None = None,
    *,
    check: Callable[[Path], None] | None = None,
    pause: float = 1.0,
) -> None:
    """Bring the file to `target`. What is there of it, beside `target` with the ending .part, is not fetched again.

    check: looks at the whole file before it gets its name; what it raises removes the file. pause: before going on after
    a cut, in seconds. Raises DownloadError, and ParameterError for an address that can't be used.
    """
    _check_address(wanted.url)
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file, _alone(file, part, target.name):
            _fill(wanted, file, part, progress, pause)
            _verify(wanted, part)
            if check is not None:
                _checked(part, check)
            part.replace(target)
    except OSError as error:
        raise _of_disk(error, target) from error
    _note(part).unlink(missing_ok=True)


def read_json(url: str, headers: Mapping[str, str] | None = None) -> Any:
    """A small JSON document. Raises DownloadError."""
    _check_address(url)
    with _opened(url, dict(headers or {})) as response:
        content = response.read(8 << 20)
    try:
        return json.loads(content)
    except ValueError as error:
        raise DownloadError(f"{urlsplit(url).netloc} sent something that is no JSON.") from error


def _fill(wanted: Download, file: IO[bytes], part: Path, progress: Progress | None, pause: float) -> None:
    """Append to the file until it is whole."""
    left = RETRIES
    while True:
        before = file.tell()
        try:
            _receive(wanted, file, part, progress)
            return
        except _CutOffError as error:
            left = RETRIES if file.tell() > before else left - 1
            if left <= 0:
                raise DownloadError(f"{error} What has come is kept; ask again to go on.") from error
            time.sleep(pause)


class _CutOffError(DownloadError):
    """The connection ended before the file did."""


def _receive(wanted: Download, file: IO[bytes], part: Path, progress: Progress | None) -> None:
    have, known = file.tell(), _read_note(part)
    headers = {**wanted.headers, "Accept-Encoding": "identity"}
    # Without a checksum only the same version of the file may be continued, which its tag tells.
    tag = known.get("tag") if known.get("url") == wanted.url else None
    if have and (tag or wanted.sha256):
        headers["Range"] = f"bytes={have}-"
        if tag:
            headers["If-Range"] = tag
    elif have:
        have = _empty(file)
    if wanted.size is not None and have == wanted.size:
        return
    with _opened(wanted.url, headers, allow={416}) as response:
        if response.status == 416 or not _continues(response, have):
            if response.status == 416 and response.headers.get("Content-Range") == f"bytes */{have}":
                return  # all of it was here
            have = _empty(file)
            if response.status == 416:
                raise _CutOffError(f"{part.stem} is shorter there than here.")
        total = _total(response, have) or wanted.size
        _write_note(part, {"url": wanted.url, "tag": _tag(response)})
        _check_room(part, total, have)
        for block in _blocks(response):
            file.write(block)
            have += len(block)
            if progress is not None:
                progress(have, total)
    file.flush()
    if total is not None and have < total:
        raise _CutOffError(f"{urlsplit(wanted.url).netloc} broke off at {have:,} of {total:,} bytes.")


def _empty(file: IO[bytes]) -> int:
    file.seek(0)
    return file.truncate()


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            block = response.read1(_BLOCK)
        except (HTTPException, ConnectionError, TimeoutError) as error:
            raise _CutOffError(f"The connection broke off: {str(error) or type(error).__name__}.") from error
        if not block:
            return
        yield block


def _continues(response: HTTPResponse, have: int) -> bool:
    """Whether the answer begins where the file ends."""
    if response.status != 206:
        return have == 0
    return response.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _total(response: HTTPResponse, have: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return have + int(length) if length.isdecimal() else None


def _tag(response: HTTPResponse) -> str | None:
    tag = response.headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return tag
    return response.headers.get("Last-Modified")


@contextlib.contextmanager
def _opened(
    url: str, headers: Mapping[str, str], allow: frozenset[int] | set[int] = frozenset()
) -> Iterator[HTTPResponse]:
    request = urllib.request.Request(url)  # noqa: S310 - _check_address has looked at it
    for name, value in {"User-Agent": "llamaforge", **headers}.items():
        # Unredirected, so that a token for this server reaches no other; the rest asks for bytes, also of a mirror.
        add = request.add_unredirected_header if name.lower() == "authorization" else request.add_header
        add(name, value)
    host = urlsplit(url).netloc
    try:
        response = urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code not in allow:
            error.close()
            raise DownloadError(_refusal(error.code, url)) from error
        response = error
    except (urllib.error.URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(f"{host} can't be reached: {reason}. Is there a network?") from error
    with contextlib.closing(response):
        yield response


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to addresses that could have been given, and from https to nothing less."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise DownloadError(f"{req.host} leads to an address that is not encrypted.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refusal(status: int, url: str) -> str:
    host, path = urlsplit(url).netloc, urlsplit(url).path
    if status in {401, 403}:
        return f"{host} does not give {path} to everybody ({status}): it may need a token, or its terms accepted."
    if status == 404:
        return f"{host} has no {path}."
    return f"{host} answered {status} for {path}."


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}:
        return
    raise ParameterError(f"'{url}' can't be fetched: give an address that begins with https://.")


def _verify(wanted: Download, part: Path) -> None:
    size = part.stat().st_size
    if wanted.size is not None and size != wanted.size:
        _drop(part)
        raise DownloadError(f"The file has {size:,} bytes instead of {wanted.size:,}; it was thrown away.")
    if wanted.sha256 is not None and (found := sha256_of(part)) != wanted.sha256.lower():
        _drop(part)
        raise DownloadError(f"The checksum is {found} instead of {wanted.sha256.lower()}; the file was thrown away.")


def sha256_of(path: Path) -> str:
    """The checksum of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_room(part: Path, total: int | None, have: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise DownloadError(f"The disk is full: {total - have:,} bytes are needed in {part.parent}, {free:,} are free.")


def _of_disk(error: OSError, target: Path) -> DownloadError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DownloadError(f"The disk is full: {target.name} could not be written to {target.parent}.")
    return DownloadError(f"{target} can't be written: {error.strerror or error}.")


@contextlib.contextmanager
def _alone(file: IO[bytes], part: Path, name: str) -> Iterator[None]:
    """The file is ours, where the system knows locks; the lock goes with the file.

    Another may have finished, and renamed the file, after it was opened here: then it is not ours to write.
    """
    try:
        import fcntl  # noqa: PLC0415 - not on Windows
    except ImportError:
        yield
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DownloadError(f"{name} is being downloaded already.") from error
    if not part.exists() or not os.path.samestat(part.stat(), os.fstat(file.fileno())):
        raise DownloadError(f"{name} was finished by another download just now.")
    yield


def _checked(part: Path, check: Callable[[Path], None]) -> None:
    passed = False
    try:
        check(part)
        passed = True
    finally:
        if not passed:
            _drop(part)


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _note(part: Path) -> Path:
    """Beside the part: from where it is, and which version."""
    return part.with_name(f"{part.name}.json")


def _read_note(part: Path) -> dict[str, Any]:
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _write_note(part: Path, note: Mapping[str, Any]) -> None:
    _note(part).write_text(json.dumps(note), encoding="utf-8")
