"""Files, as they go out."""

from typing import Literal, NotRequired, TypedDict

from open_webui.schemas.replies.shape import Object

Status = Literal["pending", "processing", "completed", "failed"]


class FileData(TypedDict):
    """What was taken out of a file. content: its text. error: why there is none. Without a status nobody asked for it.

    content_left_out: its text is too long for this list, and is at `/files/{id}/data/content`.
    """

    status: NotRequired[Status]
    content: NotRequired[str]
    content_left_out: NotRequired[bool]
    error: NotRequired[str | None]


class FileMeta(TypedDict):
    """content_type: as its sender named it. size: in bytes. file_hash: SHA-256 of the bytes. data: what its sender noted.

    collection_name: what queries call the index of this file alone.
    """

    name: str
    content_type: str
    size: int
    data: Object
    file_hash: NotRequired[str]
    collection_name: NotRequired[str]


class File(TypedDict):
    """A file. hash: SHA-256 of its text. path: its name on the server, which is no place there. user_id: empty where
    its owner is gone.
    """

    id: str
    user_id: str
    hash: str | None
    filename: str
    data: FileData
    meta: FileMeta
    created_at: int
    updated_at: int
    path: NotRequired[str]
    status: NotRequired[bool]


class Files(TypedDict):
    """A page of files, and how many there are on all pages. Beyond 8 MB together texts are left out, and each file says so."""

    items: list[File]
    total: int


class Reading(TypedDict):
    """How far the server is with a file's text. A stream has one of these for each change, as `data:` lines."""

    status: Status
    error: NotRequired[str]


class Content(TypedDict):
    """The text that was taken out of a file. pages: where each page of it begins, in characters, if it has pages."""

    content: str
    pages: NotRequired[list[int]]


class Done(TypedDict):
    """What was done, in words."""

    message: str


class ProcessedText(TypedDict):
    """A text that was kept, and the collection in which it is found."""

    status: bool
    collection_name: str
    content: str


class ProcessedFile(ProcessedText):
    """A file that was read, its text, and the collection in which it is found."""

    filename: str


class BatchResult(TypedDict):
    """What became of one file. error: why it could not be read."""

    file_id: str
    status: str
    error: str | None


class Batch(TypedDict):
    """Files that were read, and those that were not."""

    results: list[BatchResult]
    errors: list[BatchResult]
