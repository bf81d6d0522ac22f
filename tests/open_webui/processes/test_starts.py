"""Several processes start at once on one database: one administrator, one schema, one secret."""

import asyncio
from contextlib import AsyncExitStack

import pytest
import sqlalchemy as sa

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import open_database
from open_webui.main import create_app
from open_webui.models import tables
from open_webui.models.processes import LEASE_SECONDS
from tests.support.live import PASSWORD, Live

kept = tables.singleton


def changed(settings: Settings, **changes: object) -> Settings:
    return Settings(_env_file=None, **(settings.model_dump() | changes))


async def start(stack: AsyncExitStack, settings: Settings) -> None:
    app = create_app(settings)
    await stack.enter_async_context(app.router.lifespan_context(app))


async def people(settings: Settings) -> list[tuple[str, str]]:
    database = open_database(settings)
    async with database.read() as connection:
        rows = await connection.execute(sa.select(tables.user.c.email, tables.user.c.role))
        found = [(row.email, row.role) for row in rows]
    await database.close()
    return found


async def test_an_empty_database_is_set_up_once(empty_database_url: str, settings: Settings) -> None:
    named = changed(
        settings,
        database_url=empty_database_url,
        webui_admin_email="boss@example.com",
        webui_admin_password=PASSWORD,
    )
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(start(stack, named) for _ in range(3)))
        assert await people(named) == [("boss@example.com", "admin")]


async def test_of_many_first_accounts_one_is_the_administrator(live: Live, second: Live) -> None:
    async with live.client() as here, second.client() as there:
        forms = [{"name": f"P {n}", "email": f"p{n}@example.com", "password": PASSWORD} for n in range(8)]
        replies = await asyncio.gather(
            *((here, there)[n % 2].post("/api/v1/auths/signup", json=form) for n, form in enumerate(forms))
        )
    statuses = sorted(reply.status_code for reply in replies)
    assert statuses == [200] + [403] * 7, [reply.text for reply in replies]
    assert [role for _, role in await people(live.settings)] == ["admin"]


class TestSecrets:
    OTHER = "quite another secret that is long"

    async def test_another_secret_is_refused_while_others_run(self, settings: Settings) -> None:
        async with AsyncExitStack() as stack:
            await start(stack, settings)
            await start(stack, settings)
            with pytest.raises(StartupError, match="WEBUI_SECRET_KEY"):
                await start(stack, changed(settings, webui_secret_key=self.OTHER))

    async def test_of_two_first_starts_with_different_secrets_one_is_refused(self, settings: Settings) -> None:
        async with AsyncExitStack() as stack:
            results = await asyncio.gather(
                *(start(stack, changed(settings, webui_secret_key=f"{self.OTHER} {n}")) for n in range(2)),
                return_exceptions=True,
            )
        assert sorted(type(result) for result in results if result is not None) == [StartupError]

    async def test_a_secret_is_changed_when_nobody_runs(self, settings: Settings) -> None:
        other = changed(settings, webui_secret_key=self.OTHER)
        async with AsyncExitStack() as stack:
            await start(stack, settings)
        # It ended a moment ago: another may be about to start.
        with pytest.raises(StartupError):
            async with AsyncExitStack() as stack:
                await start(stack, other)
        database = open_database(settings)
        async with database.write() as unit:
            row = (await unit.connection.execute(sa.select(kept).where(kept.c.name == "secret_key"))).one()
            stored, at = row.value.split()
            assert self.OTHER not in stored
            value = f"{stored} {int(at) - LEASE_SECONDS - 1}"
            await unit.connection.execute(kept.update().where(kept.c.name == row.name).values(value=value))
        await database.close()
        async with AsyncExitStack() as stack:
            await start(stack, other)
            await start(stack, other)
            with pytest.raises(StartupError):
                await start(stack, settings)
