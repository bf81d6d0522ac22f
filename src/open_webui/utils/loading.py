"""Parts of the server that are loaded when somebody first needs them: a server without such work has no memory for them."""

import asyncio
import importlib
import sys
from typing import Any


async def load(name: str) -> Any:
    """The module of this name, whole. The first time it is imported in a thread, and the event loop goes on meanwhile.

    `sys.modules` alone does not say whether a module is there: it holds those that another thread is just importing, too.
    """
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        return module
    return await asyncio.to_thread(importlib.import_module, name)
