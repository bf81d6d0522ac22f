"""What carries the bus under test."""

from collections.abc import AsyncIterator
from itertools import count

import pytest

from tests.support.carriers import Carriage, MemoryCarriage, PostgresCarriage, RedisCarriage, Wire

LINKS = ("wire", "postgresql", "redis")
_numbers = count(1)


@pytest.fixture(params=("memory", *LINKS))
async def carriage(request: pytest.FixtureRequest) -> AsyncIterator[Carriage]:
    """A carrier of each kind. `@pytest.mark.parametrize("carriage", LINKS, indirect=True)`: those that can go away."""
    if request.param == "memory":
        yield MemoryCarriage()
    elif request.param == "wire":
        yield Wire()
    elif request.param == "redis":
        yield RedisCarriage(request.getfixturevalue("redis_server"))
    else:
        server = request.getfixturevalue("postgres_server")
        name = f"bus_{next(_numbers)}"
        await server.execute(f"CREATE DATABASE {name}")
        yield PostgresCarriage(server.url(name))
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
