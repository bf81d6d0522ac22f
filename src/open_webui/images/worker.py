"""The child process that decodes pictures: with Pillow, which the server's process never imports.

A call is a line of JSON, `{"do": "check" | "shrink", "side": 320}`, and the picture behind it; an answer likewise.
"""

import io
import sys
import warnings
from typing import Any, Final

import msgspec
from PIL import Image, ImageOps

from open_webui.images.looking import MOST_PIXELS, BadPicture, bare, look
from open_webui.internal.child.serve import serve

_FORMATS: Final = ("PNG", "JPEG", "GIF", "WEBP")
# Bytes of address space, so that a picture that wants more ends this process and nothing else.
_MEMORY: Final = 4 * 2**30
_ORIENTATION: Final = 0x0112
_QUALITY: Final = 92
_SMALL_QUALITY: Final = 80


def answer(request: bytes) -> bytes:
    """One call. Raises BadPicture."""
    head, _, data = request.partition(b"\n")
    asked = msgspec.json.decode(head)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            about, out = _checked(data) if asked["do"] == "check" else _shrunk(data, asked["side"])
    except (OSError, ValueError, SyntaxError, MemoryError, EOFError, Warning, Image.DecompressionBombError):
        raise BadPicture("It can't be decoded.") from None
    return msgspec.json.encode(about) + b"\n" + out


def _checked(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The picture decoded once, and given without its descriptions; one that lies on its side is set up."""
    looks = look(data)
    with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise BadPicture("It has more pixels than are taken.")
        turned = picture.getexif().get(_ORIENTATION, 1) != 1
        picture.load()
        if turned and picture.format in {"JPEG", "PNG", "WEBP"}:
            upright, out = ImageOps.exif_transpose(picture), io.BytesIO()
            upright.save(out, format=picture.format, quality=_QUALITY)
            data = out.getvalue()
            looks = look(data)
    return msgspec.structs.asdict(looks), bare(data, looks.mime)


def _shrunk(data: bytes, side: int) -> tuple[dict[str, Any], bytes]:
    """The picture so small that it fits into a square."""
    look(data)
    with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
        picture.draft("RGB", (side, side))
        small = ImageOps.exif_transpose(picture)
        small.thumbnail((side, side))
        out = io.BytesIO()
        mode = "RGBA" if "A" in small.getbands() or "transparency" in small.info else "RGB"
        small.convert(mode).save(out, format="WEBP", quality=_SMALL_QUALITY)
        return {"mime": "image/webp", "width": small.width, "height": small.height}, out.getvalue()


def main() -> None:
    """Answers until the server closes the pipe."""
    if sys.platform == "linux":
        import resource  # noqa: PLC0415 - not there on every system

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    Image.init()
    serve(answer, (BadPicture,))


if __name__ == "__main__":
    main()
