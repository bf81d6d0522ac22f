"""Attempts in a sliding window, counted over all processes by the database's clock. PostgreSQL only.

A row holds the times of one key, and is held by who counts: two processes at once count one after the other.
"""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables

t = tables.attempt
# Rows that one clean-up removes at most.
_PORTION: Final = 10_000
_TIMES = "json_array_elements_text({}) AS one WHERE one::float8 > {} - :window"
_KEPT = _TIMES.format("a.times", "excluded.at")
# One of several in one statement: the first is tried, each further one only when the one before was taken.
_TAKE = f"""taken{{n}} AS (
    INSERT INTO attempt AS a (key, times, at) SELECT :key{{n}}, json_build_array(at), at FROM moment {{condition}}
    ON CONFLICT (key) DO UPDATE SET at = excluded.at, times = (
        SELECT json_agg(kept.one ORDER BY kept.one) FROM (
            SELECT one::float8 AS one FROM {_KEPT} UNION ALL SELECT excluded.at
        ) AS kept
    )
    WHERE (SELECT count(*) FROM {_KEPT}) < :most{{n}}
    RETURNING 1
)"""  # noqa: S608 - parts of a statement
_WAIT = sa.text(
    f"""WITH moment AS (SELECT extract(epoch FROM clock_timestamp())::float8 AS at)
    SELECT coalesce(min(one::float8) + :window - moment.at, 0) FROM moment, attempt AS a, {_TIMES.format("a.times", "moment.at")}
    AND a.key = :key GROUP BY moment.at"""  # noqa: S608 - parts of a statement
)


def _statement(count: int) -> "sa.TextClause":
    """Tries so many keys. Gives how many were counted."""
    tries = [_TAKE.format(n=n, condition=f"WHERE EXISTS (SELECT FROM taken{n - 1})" if n else "") for n in range(count)]
    found = " UNION ALL ".join(f"SELECT FROM taken{n}" for n in range(count))
    moment = "moment AS MATERIALIZED (SELECT extract(epoch FROM clock_timestamp())::float8 AS at)"
    return sa.text(f"WITH {', '.join([moment, *tries])} SELECT count(*) FROM ({found}) AS found")  # noqa: S608 - its own parts


_STATEMENTS: Final = {count: _statement(count) for count in (1, 3)}


async def take(connection: AsyncConnection, limits: Sequence[tuple[str, int]], window: float) -> int:
    """Counts an attempt for each key in turn until one has had its most in the window. Gives how many were counted.

    limits: one or three keys, each with its most. window: in seconds.
    """
    values: dict[str, object] = {"window": float(window)}
    for n, (key, most) in enumerate(limits):
        values |= {f"key{n}": key, f"most{n}": most}
    return int(await connection.scalar(_STATEMENTS[len(limits)], values) or 0)


async def wait(connection: AsyncConnection, key: str, window: float) -> float:
    """Seconds until the oldest attempt of a key leaves the window."""
    return float(await connection.scalar(_WAIT, {"key": key, "window": float(window)}) or 0)


async def remove_old(connection: AsyncConnection, window: float) -> None:
    """Removes keys whose last attempt has left the window; those that somebody holds stay."""
    moment = sa.extract("epoch", sa.func.clock_timestamp())
    old = sa.select(t.c.key).where(t.c.at < moment - window).limit(_PORTION).with_for_update(skip_locked=True)
    await connection.execute(t.delete().where(t.c.key.in_(old)))
