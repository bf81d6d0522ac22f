"""A sandbox for the tests of a module: its first process takes a second."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest_asyncio

from open_webui.principal import Principal
from open_webui.services.code.port import Ran, Run
from open_webui.services.code.sandbox import Sandbox
from tests.support.plugins import make_host

ANN = Principal(id="ann", role="user", name="Ann", email="ann@example.com")
BOB = Principal(id="bob", role="user", name="Bob", email="bob@example.com")


class Runs:
    """A sandbox, as one asks it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def __call__(
        self, code: str, *, chat: str | None = None, who: Principal = ANN, seconds: float = 30, **more: Any
    ) -> Ran:
        return await self.sandbox.run(Run(principal=who, code=code, chat_id=chat, seconds=seconds, **more))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ran() -> AsyncIterator[Runs]:
    host = make_host(plugin_memory_mb=512)
    yield Runs(Sandbox(SimpleNamespace(plugins=host, settings=host._settings)))  # type: ignore[arg-type]
    await host.close()
