"""What the server answers, as plugins use it: objects with attributes, which may be awaited once more."""

from collections.abc import Generator, Iterator
from typing import Any


class Value:
    """A row or a form: attributes, which are items, too."""

    def __init__(self, *forms: Any, **attributes: Any) -> None:
        for form in forms:
            self.__dict__.update(form if isinstance(form, dict) else vars(form))
        self.__dict__.update(attributes)

    def model_dump(self, **_: Any) -> dict[str, Any]:
        """All of it as a dictionary."""
        return dict(self.__dict__)

    dict = model_dump

    def get(self, name: str, default: Any = None) -> Any:
        """One attribute."""
        return self.__dict__.get(name, default)

    def __getitem__(self, name: str) -> Any:
        return self.__dict__[name]

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__dict__.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and self.__dict__ == other.__dict__

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"

    def __await__(self) -> Generator[Any, None, "Value"]:
        yield from ()
        return self


class Values(list[Any]):
    """A list of them."""

    def __await__(self) -> Generator[Any, None, "Values"]:
        yield from ()
        return self


class Mapping(dict[str, Any]):
    """What the original gives as a dictionary."""

    def __await__(self) -> Generator[Any, None, "Mapping"]:
        yield from ()
        return self


def wrapped(answer: Any) -> Any:
    """An answer with attributes for keys: of an object, of each object in a list, and under `items` and the like of one."""
    if isinstance(answer, dict):
        return Value(**{key: wrapped(value) if isinstance(value, list) else value for key, value in answer.items()})
    if isinstance(answer, list):
        return Values(wrapped(entry) if isinstance(entry, dict) else entry for entry in answer)
    return answer
