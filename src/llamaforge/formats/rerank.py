"""Requests to rank documents, in the shape that Jina's and Cohere's APIs have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from llamaforge.exceptions import ParameterError
from llamaforge.formats.fields import Json


class _Document(msgspec.Struct):
    text: str


class _Request(msgspec.Struct):
    query: str
    documents: Annotated[list[str | _Document], msgspec.Meta(min_length=1)]
    top_n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    return_documents: bool | None = None


def decode_request(fields: Mapping[str, Any]) -> Json:
    """The body for a model's process: `query`, `documents` as texts, `top_n`. Raises ParameterError."""
    try:
        given = msgspec.convert(fields, _Request)
    except msgspec.ValidationError as error:
        raise ParameterError(f"The request can't be used: {error}") from None
    if given.return_documents:
        raise ParameterError("'return_documents' is not supported: the results name documents by their index.")
    texts = [document if isinstance(document, str) else document.text for document in given.documents]
    return {"query": given.query, "documents": texts, "top_n": min(given.top_n or len(texts), len(texts))}
