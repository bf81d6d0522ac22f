"""What is read of a plugin's text, as values: they travel between the server and the process that reads."""

from typing import Any, Final, Literal

import msgspec

from open_webui.constants import MAX_PLUGIN

Kind = Literal["tool", "pipe", "filter", "action", "event"]
# The class that a plugin of each kind is.
CLASSES: Final[dict[str, Kind]] = {
    "Tools": "tool",
    "Pipe": "pipe",
    "Filter": "filter",
    "Action": "action",
    "Event": "event",
}
MAX_CONTENT: Final = MAX_PLUGIN
Which = Literal["Valves", "UserValves"]


class Unreadable(Exception):
    """Why a plugin can't be taken as it is, as a sentence for a person."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody should know of a plugin before it is saved.

    refused: it is not taken with this. line: from 1; 0 for the whole.
    """

    message: str
    line: int = 0
    refused: bool = False


class Members(msgspec.Struct, frozen=True, kw_only=True):
    """What a class says of itself without being run; what it works out while it runs is not here.

    methods: those it has. actions: several buttons of one action: id, name and icon of each. file_handler: it reads a
    message's files itself.
    """

    methods: tuple[str, ...] = ()
    toggle: bool = False
    name: str | None = None
    icon: str | None = None
    actions: tuple[dict[str, str], ...] = ()
    priority: int = 0
    file_handler: bool = False
    has_valves: bool = False
    has_user_valves: bool = False


class PluginText(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin as its text tells it. specs: of a tool's methods, for models. valves, user_valves: JSON schemas of forms."""

    kind: Kind
    manifest: dict[str, str]
    members: Members
    specs: tuple[dict[str, Any], ...] = ()
    valves: dict[str, Any] | None = None
    user_valves: dict[str, Any] | None = None
    findings: tuple[Finding, ...] = ()


# What the reading process is asked.


class Read(msgspec.Struct, frozen=True, tag=True):
    """The whole of a text: a PluginText."""

    content: str


class Check(msgspec.Struct, frozen=True, tag=True):
    """Values for one of a plugin's forms: those that were given, as they will be."""

    content: str
    which: Which
    values: dict[str, Any]


class Compare(msgspec.Struct, frozen=True, tag=True):
    """Two texts: the lines of their difference."""

    old: str
    new: str
    old_name: str
    new_name: str


class Format(msgspec.Struct, frozen=True, tag=True):
    """Python in the usual layout."""

    code: str


Request = Read | Check | Compare | Format
