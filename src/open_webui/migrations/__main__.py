"""`python -m open_webui.migrations`: the migration as the server's child process, which writes JSON to its standard output.

`{"migrated": bool}`, or `{"failed": sentence}` with status 1. The settings are those of the environment.
"""

import asyncio
import json
import sys

from open_webui.env import load
from open_webui.errors import StartupError
from open_webui.internal import log
from open_webui.migrations.runner import migrate


def main() -> int:
    """The exit status."""
    try:
        settings = load(enable_db_migrations=True)
        log.set_up(settings)
        sys.stdout.write(json.dumps({"migrated": asyncio.run(migrate(settings))}))
    except StartupError as error:
        sys.stdout.write(json.dumps({"failed": error.detail}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
