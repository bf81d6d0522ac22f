"""The JSON of replies as types, named at the handlers in quotes. Nothing looks at them while requests are answered: their
modules are loaded when somebody asks what the interface looks like, and tests compare replies with them.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from open_webui.schemas.replies import (
        analytics,
        apps,
        audio,
        audit,
        automations,
        calendars,
        channels,
        chats,
        completions,
        connections,
        errors,
        evaluations,
        files,
        images,
        jobs,
        keys,
        knowledge,
        local,
        mcp,
        memories,
        models,
        notes,
        notifications,
        passkeys,
        people,
        plugins,
        prompts,
        retrieval,
        role_sets,
        scim,
        server,
        settings,
        skills,
        usage,
        web,
    )

    __all__ = [
        "analytics",
        "apps",
        "audio",
        "audit",
        "automations",
        "calendars",
        "channels",
        "chats",
        "completions",
        "connections",
        "errors",
        "evaluations",
        "files",
        "images",
        "jobs",
        "keys",
        "knowledge",
        "local",
        "mcp",
        "memories",
        "models",
        "notes",
        "notifications",
        "passkeys",
        "people",
        "plugins",
        "prompts",
        "retrieval",
        "role_sets",
        "scim",
        "server",
        "settings",
        "skills",
        "usage",
        "web",
    ]
else:

    def __getattr__(name: str) -> ModuleType:
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError:
            raise AttributeError(name) from None
