"""What can go wrong in the server, as one tree: each error knows its HTTP status and the sentence a person reads."""

from typing import Any

from open_webui import constants


class OuiError(Exception):
    """Root of the tree. `status` is the HTTP status, `detail` the sentence shown to a person.

    `headers` go onto the reply. A subclass sets `status` and a default `detail`.
    """

    status: int = 500
    detail: str = "Something went wrong on the server. The log has the details."

    def __init__(
        self, detail: str | None = None, *, status: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        if detail is not None:
            self.detail = detail
        if status is not None:
            self.status = status
        self.headers = headers
        super().__init__(self.detail)


class StartupError(OuiError):
    """The server can't start; `detail` is printed as one sentence and the process exits with `exit_code`."""

    exit_code = 1


class BadRequest(OuiError):
    status = 400
    detail = "The request could not be understood."


class Unauthenticated(OuiError):
    status = 401
    detail = constants.UNAUTHORIZED


class Forbidden(OuiError):
    """The wire answers most refusals with 401; routes that answer 403 say so with `status=403`."""

    status = 401
    detail = constants.NO_PERMISSION


class NotFound(OuiError):
    status = 404
    detail = constants.NOT_FOUND


class UnknownModel(NotFound):
    """Said with the object in which OpenAI's packages look for an error, wherever they ask for a model."""

    detail = constants.MODEL_NOT_FOUND


class Conflict(OuiError):
    status = 409
    detail = "Somebody else changed this at the same time. Reload and try again."


class VersionConflict(Conflict):
    """Of a thing with versions. Pages look for the code, and offer to load what is there now."""

    code = "version_conflict"


class TooLarge(OuiError):
    status = 413
    detail = "This is larger than the server accepts."


class TooManyRequests(OuiError):
    status = 429
    detail = constants.TOO_MANY_ATTEMPTS


class Unavailable(OuiError):
    status = 503
    detail = "This part of the server is not available at the moment."


class ScimError(OuiError):
    """What a directory is told (SCIM). scim_type: the word of RFC 7644, 3.12, "" where it has none for this."""

    status = 400

    def __init__(self, detail: str, scim_type: str = "invalidValue", *, status: int | None = None) -> None:
        super().__init__(detail, status=status)
        self.scim_type = scim_type


class ProviderError(OuiError):
    """A model provider refused or failed. Keeps the provider's status and body, so that a client sees the original.

    status: the provider's HTTP status, or 502/504 when there was none. body: the provider's JSON, if it sent any.
    retryable: another try may succeed (connection lost, 429, 5xx). untouched: the provider has not worked on the request,
    so that another try costs nothing: it could not be reached, or says that it took nothing in (429, 503, 529).
    retry_after: seconds that it asks to wait before another try.
    """

    status = 502

    def __init__(
        self,
        detail: str,
        *,
        status: int = 502,
        body: Any = None,
        retryable: bool = False,
        untouched: bool = False,
        hint: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail, status=status)
        self.body = body
        self.retry_after = retry_after
        self.retryable = retryable
        self.untouched = untouched
        self.hint = hint
