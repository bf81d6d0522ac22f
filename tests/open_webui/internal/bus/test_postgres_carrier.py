"""How data become notifications of PostgreSQL and data again, and which connections carry them."""

from pathlib import Path

import pytest

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.bus.link import LinkBus
from open_webui.internal.bus.memory import MemoryBus
from open_webui.internal.bus.opening import asyncpg_options, listening_url, open_bus
from open_webui.internal.bus.postgres import PART_BYTES, PostgresCarrier

POSTGRES = "postgresql://me:secret@db.example:5433/chats?sslmode=require"


@pytest.fixture
def carrier() -> PostgresCarrier:
    carrier = PostgresCarrier({})
    carrier._tag = "0123abcd"
    carrier.arrived = []
    carrier.receive = carrier.arrived.append
    return carrier


def hear(carrier: PostgresCarrier, *texts: str) -> None:
    for text in texts:
        carrier._on_notification(None, 1, "oui_all", text)


@pytest.mark.parametrize("size", [1, PART_BYTES, PART_BYTES + 1, 10 * PART_BYTES, 1_000_000])
def test_data_are_cut_and_joined(carrier: PostgresCarrier, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    parts = carrier._parts(data)
    assert max(map(len, parts)) < 8_000
    assert len(set(parts)) == len(parts), "equal notifications of a transaction are dropped"
    hear(carrier, *parts)
    assert carrier.arrived == [data]
    assert not carrier._begun


def test_parts_of_two_senders_may_mix(carrier: PostgresCarrier) -> None:
    ours = carrier._parts(b"a" * 3 * PART_BYTES)
    carrier._tag = "9999ffff"
    theirs = carrier._parts(b"b" * 3 * PART_BYTES)
    hear(carrier, *(part for both in zip(ours, theirs, strict=True) for part in both))
    assert carrier.arrived == [b"a" * 3 * PART_BYTES, b"b" * 3 * PART_BYTES]


def test_data_of_which_a_part_is_missing_are_dropped_alone(carrier: PostgresCarrier) -> None:
    first, second, third = (carrier._parts(letter * 3 * PART_BYTES) for letter in (b"a", b"b", b"c"))
    hear(carrier, *first[1:], *second[:2], *third)
    assert carrier.arrived == [b"c" * 3 * PART_BYTES]
    hear(carrier, first[0], first[2], *first)
    assert carrier.arrived[1:] == [b"a" * 3 * PART_BYTES]


@pytest.mark.parametrize(
    "text", ["", "hello", "a b c d e", "t 1 0 1 !!!", "t 1 0 1 é", "t 1 -1 2 AA==", "t 1 5 2 AA==", "a b"]
)
def test_foreign_notifications_are_ignored(carrier: PostgresCarrier, text: str) -> None:
    hear(carrier, text)
    assert not carrier.arrived


def test_parts_that_never_end_are_forgotten(carrier: PostgresCarrier) -> None:
    for number in range(3_000):
        hear(carrier, f"{number:08x} 1 0 2 AAAA")
    assert len(carrier._begun) <= 1_000


def settings(folder: Path, **changes: object) -> Settings:
    return Settings(_env_file=None, data_dir=folder, **changes)


def test_sqlite_has_a_bus_without_tasks_or_imports(tmp_path: Path) -> None:
    assert isinstance(open_bus(settings(tmp_path)), MemoryBus)


def test_postgresql_has_a_link(tmp_path: Path) -> None:
    assert isinstance(open_bus(settings(tmp_path, database_url=POSTGRES)), LinkBus)
    assert isinstance(open_bus(settings(tmp_path, database_url=POSTGRES, env="test")), MemoryBus)


def test_the_direct_address_is_listened_at(tmp_path: Path) -> None:
    given = settings(tmp_path, database_url=POSTGRES, database_direct_url="postgres://you@[::1]/direct")
    assert asyncpg_options(listening_url(given)) == {"host": "::1", "user": "you", "database": "direct"}
    options = asyncpg_options(listening_url(settings(tmp_path, database_url=POSTGRES)))
    assert options == {
        "host": "db.example", "port": 5433, "user": "me", "password": "secret", "database": "chats", "ssl": "require"
    }  # fmt: skip


@pytest.mark.parametrize("address", ["sqlite:///x.db", "nonsense", "postgresql://host", "mysql://host/name"])
def test_a_direct_address_that_is_none_is_refused_by_its_name(tmp_path: Path, address: str) -> None:
    with pytest.raises(StartupError, match="DATABASE_DIRECT_URL"):
        open_bus(settings(tmp_path, database_url=POSTGRES, database_direct_url=address))
