"""Result: a value or an error, told apart by the caller instead of raised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Result(Generic[T]):
    """What a tool or an agent returns: an Ok or an Err."""

    @property
    def is_ok(self) -> bool:
        """Whether there is a value."""
        return isinstance(self, Ok)

    @property
    def is_err(self) -> bool:
        """Whether there is an error."""
        return isinstance(self, Err)

    def unwrap(self) -> T:
        """The value. Raises RuntimeError for an Err."""
        raise RuntimeError(f"{self!r} has no value.")

    def unwrap_err(self) -> Exception:
        """The exception. Raises RuntimeError for an Ok."""
        raise RuntimeError(f"{self!r} is no error.")

    def unwrap_err_val(self) -> Any:
        """What is told of the error, mostly a sentence. Raises RuntimeError for an Ok."""
        raise RuntimeError(f"{self!r} is no error.")


@dataclass(frozen=True)
class Ok(Result[T]):
    """Success, with its value."""

    value: T

    def unwrap(self) -> T:
        """The value."""
        return self.value


@dataclass(frozen=True)
class Err(Result[Any]):
    """Failure: the exception, and a sentence about it for people and models."""

    error: Exception
    value: Any = None

    def unwrap_err(self) -> Exception:
        """The exception."""
        return self.error

    def unwrap_err_val(self) -> Any:
        """What is told of it."""
        return self.value
