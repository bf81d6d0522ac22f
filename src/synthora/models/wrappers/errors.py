"""What an error means for trying again: whether it may help, and how long the provider asks to wait."""

from __future__ import annotations

import email.utils
import sys
import time
from typing import Any

from llamaforge.exceptions import APIError, AuthenticationError, ModelBusyError

_RETRIABLE = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529))


def status(error: BaseException) -> int | None:
    """The HTTP status of an error of the openai SDK or of llamaforge."""
    found = getattr(error, "status_code", None) or getattr(error, "status", None)
    return found if isinstance(found, int) else None


def is_retriable(error: BaseException) -> bool:
    """Whether the same request may succeed later: an overload, a lost connection, a timeout; never a refusal."""
    code = status(error)
    if code is not None:
        return code in _RETRIABLE and getattr(error, "code", None) != "insufficient_quota"
    if isinstance(error, AuthenticationError):
        return False
    if isinstance(error, ConnectionError | TimeoutError | ModelBusyError | APIError):
        return True
    sdk = sys.modules.get("openai")  # an error of the SDK's can't be there without it
    return sdk is not None and isinstance(error, sdk.APIConnectionError)


def retry_after(error: BaseException) -> float | None:
    """Seconds that the provider asks to wait, None where it does not say."""
    told = getattr(error, "retry_after", None)
    if isinstance(told, int | float):
        return max(float(told), 0.0)
    headers: Any = getattr(getattr(error, "response", None), "headers", None) or {}
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    header = headers.get("retry-after")
    seconds = _number(header)
    if seconds is not None or header is None:
        return seconds
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


def _number(header: str | None) -> float | None:
    try:
        value = None if header is None else float(header)
    except ValueError:
        return None
    return value if value is not None and 0 <= value < float("inf") else None
