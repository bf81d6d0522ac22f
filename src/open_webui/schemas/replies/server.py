"""What the server tells of itself, as it goes out."""

from typing import NotRequired, TypedDict

from open_webui.schemas.replies.shape import Object


class Done(TypedDict):
    """It was done, or the server is well."""

    status: bool


class Ready(Done):
    """bus: false, where what carries news between the processes is away. vectors: false, where the service is away in which
    the vectors of documents lie, so that words alone are searched. Else they aren't named.
    """

    bus: NotRequired[bool]
    vectors: NotRequired[bool]


class Told(Done):
    """The same, with a sentence for a person."""

    message: str


class Version(TypedDict):
    """version: of the API that is spoken."""

    version: str
    deployment_id: str


class Updates(TypedDict):
    current: str
    latest: str


class Usage(TypedDict):
    """How many people are connected; for administrators also which models are being used."""

    model_ids: list[str]
    user_count: int


class Icon(TypedDict):
    src: str
    type: str
    sizes: str
    purpose: str


class ShareTarget(TypedDict):
    action: str
    method: str
    params: dict[str, str]


class Manifest(TypedDict):
    name: str
    short_name: str
    description: str
    start_url: str
    display: str
    background_color: str
    icons: list[Icon]
    share_target: ShareTarget


class Config(TypedDict):
    """What a page must know: more with a session than without. onboarding: there is no account yet."""

    onboarding: NotRequired[bool]
    status: bool
    name: str
    version: str
    default_locale: str
    i18n: Object
    oauth: Object
    features: dict[str, bool | int | str | None]
    ui: NotRequired[Object]
    default_models: NotRequired[str | None]
    default_pinned_models: NotRequired[str | None]
    default_prompt_suggestions: NotRequired[list[Object] | None]
    default_prompt_suggestions_i18n: NotRequired[Object | None]
    code: NotRequired[Object]
    audio: NotRequired[Object]
    file: NotRequired[Object]
    permissions: NotRequired[dict[str, dict[str, bool]]]
    google_drive: NotRequired[dict[str, str]]
    onedrive: NotRequired[dict[str, str]]
    license_metadata: NotRequired[None]


class AllTasks(TypedDict):
    tasks: list[str]


class ChatTasks(TypedDict):
    task_ids: list[str]
