"""Whether anything has been written to a database since somebody looked, so that nobody reads all of it anew in vain."""

from sqlalchemy.ext.asyncio import AsyncConnection


async def mark(connection: AsyncConnection) -> tuple[str, ...]:
    """Another one after each commit. The same one twice means that nothing was written between; the reverse is not promised.

    SQLite says it to each connection by itself, of all the others.
    """
    if connection.dialect.name == "sqlite":
        version = (await connection.exec_driver_sql("PRAGMA data_version")).scalar_one()
        raw = await connection.get_raw_connection()
        return str(id(raw.driver_connection)), str(version)
    return ("", str((await connection.exec_driver_sql("SELECT pg_current_wal_insert_lsn()")).scalar_one()))
