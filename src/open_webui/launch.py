"""How a command becomes the server."""

import os

from open_webui.env import load
from open_webui.errors import OuiError, StartupError
from open_webui.internal.lean_imports import lean


def exit_code(error: OuiError) -> int:
    """The status of a command that ends with this error."""
    return error.exit_code if isinstance(error, StartupError) else 1


def serve(given: dict[str, str | int], *, reload: bool = False) -> None:
    """Migrates the database and serves until stopped. given: settings over those of the environment.

    Raises StartupError when the server can't start.
    """
    # What this process and its children make is for their account of the machine alone. What lies there: internal/private.py.
    os.umask(0o077)
    # Without what `.env` says: workers read it again, and a later one may find it changed.
    environment = dict(os.environ)
    settings = load().model_copy(update=given)
    with lean():
        from open_webui.serving import run, run_workers

    if settings.uvicorn_workers > 1:
        run_workers(settings, environment, reload=reload)
    else:
        run(settings, reload=reload)
