"""Making pictures, as it goes out."""

from typing import Any, Final, Literal, NotRequired, TypedDict

import msgspec

from open_webui.config import BY_KEY
from open_webui.config.images import WIRE
from open_webui.schemas.replies.settings import shown

Config: Final = shown("ImagesSettings", WIRE)
# Pages send numbers and objects as texts, too.
ConfigForm: Final = msgspec.defstruct(
    "ImagesSettingsForm",
    [(name, BY_KEY[key].type | str | None | msgspec.UnsetType, msgspec.UNSET) for name, key in WIRE.items()],
    kw_only=True,
)


class ImageModel(TypedDict):
    id: str
    name: str


class MadeImage(TypedDict):
    """A picture that is a file of whoever asked."""

    id: str
    url: str
    name: str
    content_type: str


class OpenAIImage(TypedDict):
    """A picture in the form of OpenAI's API: one of the two."""

    url: NotRequired[str]
    b64_json: NotRequired[str]
    revised_prompt: NotRequired[str]


class OpenAIImages(TypedDict):
    """What OpenAI's packages get. created: seconds since 1970."""

    created: int
    data: list[OpenAIImage]


class GalleryImage(TypedDict):
    """A picture that was made for one. thumbnail: where a small one is. seed: null where the engine did not say."""

    id: str
    url: str
    thumbnail: str
    name: str
    prompt: str
    model: str
    engine: str
    seed: int | None
    width: int
    height: int
    size: int
    created_at: int


class ImageEdits(TypedDict):
    """The form of OpenAI's API: `image` once, or `image[]` several times."""

    image: Any
    prompt: str
    mask: NotRequired[Any]
    model: NotRequired[str]
    n: NotRequired[int]
    size: NotRequired[str]
    response_format: NotRequired[Literal["url", "b64_json"]]
