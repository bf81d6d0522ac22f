"""The command `oui-backend`. A server is started without what reads the other commands (commands.py): 3 MB for its life."""

import sys
from typing import Final

from open_webui.env import MAX_WORKERS
from open_webui.errors import OuiError
from open_webui.launch import exit_code, serve

# Options of `serve`, and the settings that they stand for.
_OPTIONS: Final = {"--host": "host", "--port": "port", "--workers": "uvicorn_workers"}


def main() -> None:
    given = plain_serve(sys.argv[1:])
    if given is None:
        from open_webui.commands import app

        app()
        return
    try:
        serve(given)
    except OuiError as error:
        print(f"oui-backend: {error.detail}", file=sys.stderr)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)


def plain_serve(arguments: list[str]) -> dict[str, str | int] | None:
    """What `serve` is given, by the settings' names. None for whatever commands.py can read, or refuse, better."""
    words = [part for word in arguments[1:] for part in (word.split("=", 1) if word.startswith("--") else [word])]
    names, values = words[::2], words[1::2]
    if arguments[:1] != ["serve"] or len(names) != len(values) or not _OPTIONS.keys() >= {*names}:
        return None
    given: dict[str, str | int] = {}
    for name, value in zip(names, values, strict=True):
        if name != "--host" and not (value.isdecimal() and 1 <= int(value) <= 65535):
            return None
        given[_OPTIONS[name]] = value if name == "--host" else int(value)
    return None if int(given.get("uvicorn_workers", 1)) > MAX_WORKERS else given


if __name__ == "__main__":
    main()
