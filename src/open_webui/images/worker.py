"""The child process that decodes pictures: with Pillow, which the server's process never imports.

A call is a line of JSON, `{"do": "check"}`, `{"do": "shrink", "side": 320}` or `{"do": "fit", "width": 2048, "height": 0}`, and
the picture behind it; an answer likewise.
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
# Of pictures for models, and bytes up to which a picture without losses stays one.
_SENT_QUALITY: Final = 88
_LIGHT: Final = 2**20
# Orientations from here on swap width and height.
_LYING: Final = 5


def answer(request: bytes) -> bytes:
    """One call. Raises BadPicture."""
    head, _, data = request.partition(b"\n")
    asked = msgspec.json.decode(head)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if asked["do"] == "fit":
                about, out = _fitted(data, asked["width"], asked["height"])
            else:
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


def _fitted(data: bytes, width: int, height: int) -> tuple[dict[str, Any], bytes]:
    """The picture with at most so many pixels (0: as it has), upright, as JPEG, or as PNG where that is light or it is
    transparent. One that moves is only without its descriptions.
    """
    looks = look(data)
    with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise BadPicture("It has more pixels than are taken.")
        if getattr(picture, "n_frames", 1) > 1:
            return msgspec.structs.asdict(looks), bare(data, looks.mime)
        turned = picture.getexif().get(_ORIENTATION, 1)
        lies = turned >= _LYING
        own = (picture.height, picture.width) if lies else (picture.width, picture.height)
        scale = min(1.0, (width or own[0]) / own[0], (height or own[1]) / own[1])
        size = max(1, round(own[0] * scale)), max(1, round(own[1] * scale))
        lossless = picture.format == "PNG"
        picture.draft("RGB", size[::-1] if lies else size)
        upright = ImageOps.exif_transpose(picture)
        small = (
            upright
            if upright.size == size
            else _plain(upright).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        )
        mime, out = _encoded(_plain(small), lossless=lossless)
    if scale == 1.0 and turned == 1 and len(out) >= len(data):
        return msgspec.structs.asdict(looks), bare(data, looks.mime)
    return {"mime": mime, "width": size[0], "height": size[1]}, out


def _plain(picture: Image.Image) -> Image.Image:
    """With eight bits of red, green and blue, and of transparency where it has any."""
    if picture.mode in {"RGB", "RGBA"}:
        return picture
    if picture.mode.startswith("I;16"):
        picture = picture.point(lambda value: value * (1 / 256)).convert("L")
    return picture.convert("RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB")


def _encoded(picture: Image.Image, *, lossless: bool) -> tuple[str, bytes]:
    """As PNG where it is transparent, or is to be lossless and light; else as JPEG."""
    transparent = picture.mode == "RGBA" and picture.getchannel("A").getextrema() != (255, 255)
    if transparent or lossless:
        out = io.BytesIO()
        (picture if transparent else picture.convert("RGB")).save(out, format="PNG")
        if transparent or out.tell() <= _LIGHT:
            return "image/png", out.getvalue()
    out = io.BytesIO()
    picture.convert("RGB").save(out, format="JPEG", quality=_SENT_QUALITY)
    return "image/jpeg", out.getvalue()


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
