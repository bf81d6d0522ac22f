"""What is stored of added models, on both databases."""

import pytest

from open_webui.env import Settings
from open_webui.internal.db import open_database
from open_webui.models import local_models
from tests.conftest import DATABASES


@pytest.fixture(params=DATABASES)
def database_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


async def test_a_row_from_its_adding_to_its_end(settings: Settings) -> None:
    database = open_database(settings)
    try:
        async with database.write() as unit:
            added = {"source": "ollama:x", "path": None, "backend": None, "parameters": {"stop": ["a\0b"], "n_ctx": 5}}
            assert await local_models.insert(unit.connection, "one", **added)
            assert not await local_models.insert(unit.connection, "one", **added)
        async with database.write() as unit:
            here = {"path": "/models/x.gguf", "backend": "llama.cpp", "parameters": {"n_ctx": 5}}
            assert await local_models.arrived(unit.connection, "one", **here)
            assert not await local_models.arrived(unit.connection, "two", **here)
        async with database.read() as connection:
            (row,) = await local_models.all_models(connection)
        assert (row.name, row.path, row.backend, row.parameters) == ("one", "/models/x.gguf", "llama.cpp", {"n_ctx": 5})
        async with database.write() as unit:
            assert await local_models.delete(unit.connection, "one")
            assert not await local_models.delete(unit.connection, "one")
    finally:
        await database.close()
