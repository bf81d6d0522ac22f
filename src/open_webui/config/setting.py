"""What a setting is: declared once, with its type, its default and the variables that fix it."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

Json = Any
Parse = Callable[[str], Json]


def parse_bool(text: str) -> bool:
    value = text.strip().lower()
    if value in {"true", "1", "yes", "on"}:
        return True
    if value in {"false", "0", "no", "off", ""}:
        return False
    raise ValueError("must be true or false")


def parse_list(separator: str) -> Parse:
    """A parser of separated texts; blanks around entries go, empty entries stay (a key list may have gaps)."""

    def parse(text: str) -> list[str]:
        return [part.strip() for part in text.split(separator)] if text.strip() else []

    return parse


def parse_json(text: str) -> Json:
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError as error:
        raise ValueError(f"must be JSON ({error})") from None


PARSERS: Final[dict[type, Parse]] = {
    bool: parse_bool,
    int: int,
    float: float,
    str: str,
    dict: parse_json,
    list: parse_json,
}


class Setting(msgspec.Struct, frozen=True):
    """One declared setting.

    key: dotted name in the database. type: what its values are. default: used when neither environment nor database
    has one. variables: names of environment variables, the first that is set wins. parse: text to value, by type if
    None. nullable: None is a value too. secret: never shown to anyone who may not write it.
    """

    key: str
    type: type
    default: Json
    variables: tuple[str, ...] = ()
    parse: Parse | None = None
    nullable: bool = False
    secret: bool = False

    def from_text(self, text: str) -> Json:
        return (self.parse or PARSERS[self.type])(text)

    def accepts(self, value: Json) -> bool:
        """Whether a value has the declared type (an int passes for a float, a bool not for an int)."""
        if value is None:
            return self.nullable
        if self.type is float:
            return isinstance(value, int | float) and not isinstance(value, bool)
        if self.type is int:
            return isinstance(value, int) and not isinstance(value, bool)
        return isinstance(value, self.type)


def flag(key: str, variable: str, default: bool) -> Setting:
    return Setting(key, bool, default, (variable,))
