"""What is told of pages of the web."""

from typing import Literal, NotRequired, TypedDict


class PageData(TypedDict):
    content: str


class PageMeta(TypedDict):
    name: str
    source: str


class PageFile(TypedDict):
    """A page as a file that is attached to a question."""

    data: PageData
    meta: PageMeta


class ReadPage(TypedDict):
    """A page that was read, and the collection in which it is found; null where it was not stored."""

    status: bool
    type: Literal["web", "youtube"]
    name: str
    url: str
    filename: str
    collection_name: str | None
    content: str
    file: PageFile


class FoundPage(TypedDict):
    link: str
    title: str
    snippet: str


class FoundText(TypedDict):
    content: str
    metadata: dict[str, str]


class FoundPages(TypedDict):
    """What a search found, and the collections into which the pages were put; or the pages, where they are not stored."""

    status: bool
    filenames: list[str]
    items: list[FoundPage]
    loaded_count: int
    collection_names: list[str]
    docs: NotRequired[list[FoundText]]
