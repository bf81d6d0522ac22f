"""Pictures for clients of OpenAI's API: which requests are theirs, their form with files, and the answer in their shape."""

import base64
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest, TooLarge
from open_webui.images.port import LARGEST
from open_webui.models import files
from open_webui.models.files import File
from open_webui.principal import Principal
from open_webui.services.deps import FileDeps
from open_webui.services.images import inputs
from open_webui.services.images.making import Kept, Pictures
from open_webui.utils.addresses import address
from open_webui.utils.multipart import Form

# Fields of theirs that go on to an engine of OpenAI's kind, and the most characters of one.
PASSED: Final = (
    "quality",
    "style",
    "moderation",
    "output_format",
    "output_compression",
    "input_fidelity",
    "background",
)
_LONGEST: Final = 200
# Whoever sends one of these speaks OpenAI's API: the contract's form has none of them.
_THEIRS: Final = frozenset({*PASSED, "response_format", "stream", "partial_images"}) - {"background"}
# A header that all of OpenAI's own packages send.
_PACKAGE: Final = "x-stainless-lang"
_MOST_PARTS: Final = 60
_MOST_FIELD: Final = 64 * 1024
_FORMATS: Final = ("b64_json", "url")
NO_STREAM: Final = "Pictures are not streamed: leave 'stream' out."
TWICE: Final = "'{}' should be {}."


class Asked(msgspec.Struct):
    """A form of theirs. images, mask: files of the caller by now."""

    fields: dict[str, str]
    images: list[str]
    mask: str | None = None


def is_theirs(headers: Mapping[str, str], fields: Mapping[str, Any]) -> bool:
    """Whether a request to the address that both APIs have is one of OpenAI's."""
    return _PACKAGE in headers or not _THEIRS.isdisjoint(fields)


def passed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the fields that go on. Raises BadRequest for values that are none."""
    if fields.get("stream") in (True, "true"):
        raise BadRequest(NO_STREAM)
    out = {}
    for name in PASSED:
        value = fields.get(name)
        if value is None:
            continue
        if not isinstance(value, str | int) or (isinstance(value, str) and len(value) > _LONGEST):
            raise BadRequest(TWICE.format(name, "a short text"))
        out[name] = value
    return out


def form_of(fields: Mapping[str, Any]) -> str:
    """In which form the pictures are to come: as base64, unless an address is asked for. Raises BadRequest."""
    said = fields.get("response_format") or _FORMATS[0]
    if said not in _FORMATS:
        raise BadRequest(TWICE.format("response_format", "'b64_json' or 'url'"))
    return str(said)


async def read(
    deps: FileDeps, pictures: Pictures, principal: Principal, content_type: str, body: AsyncIterator[bytes]
) -> Asked:
    """A form with pictures in it, one after the other as it arrives. Raises BadRequest, TooLarge."""
    asked = Asked({}, [])
    form = Form(content_type, body, max_parts=_MOST_PARTS)
    async for part in form:
        if part.name in {"image", "image[]", "mask"}:
            if len(asked.images) == inputs.MOST:
                raise BadRequest(inputs.TOO_MANY)
            data = bytearray()
            async for piece in form.content():
                data += piece
                if len(data) > LARGEST:
                    raise TooLarge(f"A picture may have at most {LARGEST // 2**20} MB.")
            file_id = await inputs.kept(deps, pictures, principal, bytes(data))
            if part.name == "mask":
                asked.mask = file_id
            else:
                asked.images.append(file_id)
        elif part.filename is None:
            asked.fields[part.name[:100]] = await form.text(_MOST_FIELD)
    if not asked.images:
        raise BadRequest(inputs.NONE)
    return asked


async def answer(deps: FileDeps, made: Sequence[Kept], form: str, base: str) -> AsyncIterator[bytes]:
    """The JSON of their answer, in pieces, so that no picture is held whole. base: of the addresses, where they are asked for."""
    async with deps.database.read() as connection:
        found = await files.by_id(connection, [one.id for one in made])
    head = f'{{"created":{int(time.time())},"data":['
    if form == "url":
        listed = [{"url": f"{base}{address(one.id)}"} for one in made if one.id in found]
        yield f"{head}{msgspec.json.encode(listed).decode()[1:-1]}]}}".encode()
        return
    yield head.encode()
    for place, file in enumerate(found[one.id] for one in made if one.id in found):
        yield b',{"b64_json":"' if place else b'{"b64_json":"'
        async for piece in _base64(deps, file):
            yield piece
        yield b'"}'
    yield b"]}"


async def _base64(deps: FileDeps, file: File) -> AsyncIterator[bytes]:
    left = b""
    async for piece in deps.blobs.read(file.blob):
        whole = left + piece
        cut = len(whole) - len(whole) % 3
        yield base64.b64encode(whole[:cut])
        left = whole[cut:]
    yield base64.b64encode(left)
