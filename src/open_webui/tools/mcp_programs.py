"""MCP servers that are programs of this machine: in the admin's file `mcp.json`, and never set up over the API."""

from pathlib import Path
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest
from open_webui.internal.log import get_logger
from open_webui.tools.mcp.frames import Target
from open_webui.tools.servers import ID, Server, grants_of, names_of

log = get_logger(__name__)
NAME: Final = "mcp.json"
MAX_FILE: Final = 1_000_000


class ProgramFile:
    """The servers of the file, read again when it is another than before."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._seen: tuple[int, int] | None = None
        self._servers: tuple[Server, ...] = ()

    def servers(self) -> tuple[Server, ...]:
        """None where there is no file. What can't be read is told in the log, and left out."""
        try:
            about = self._path.stat()
            seen = (about.st_mtime_ns, about.st_size)
            if seen != self._seen:
                self._seen = seen
                self._servers = _read(self._path.read_bytes() if about.st_size <= MAX_FILE else b"")
        except FileNotFoundError:
            self._seen, self._servers = None, ()
        except OSError as error:
            log.warning("mcp.json can't be read", why=error.strerror)
        return self._servers


def _read(text: bytes) -> tuple[Server, ...]:
    try:
        file = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        log.warning("mcp.json is no JSON", why=str(error))
        return ()
    entries = file.get("mcpServers") if isinstance(file, dict) else None
    found = []
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        try:
            found.append(_server(name, entry))
        except (BadRequest, msgspec.ValidationError) as error:
            log.warning("a server of mcp.json can't be used", name=name, why=str(error))
    return tuple(server for server in found if server.enabled)


def _server(name: str, entry: Any) -> Server:
    if not ID.fullmatch(name):
        raise BadRequest("Its name may have letters, digits, dots, dashes and underscores, at most 64.")
    if not isinstance(entry, dict) or not isinstance(entry.get("command"), str) or not entry["command"]:
        raise BadRequest("It needs a command.")
    given = {key: entry[key] for key in ("command", "args", "env", "cwd") if key in entry}
    program = msgspec.convert({**given, "transport": "stdio"}, Target)
    return Server(
        id=name,
        kind="mcp",
        url="",
        name=str(entry.get("name") or name)[:200],
        description=str(entry.get("description") or "")[:2_000],
        enabled=entry.get("disabled") is not True,
        grants=grants_of(entry, f"The server {name!r}"),
        functions=names_of(entry.get("function_name_filter_list")),
        transport="stdio",
        program=program,
        shared=entry.get("per_user") is not True,
        asks_models=entry.get("sampling") == "allow",
    )
