"""Moves blobs from one store to another: as streams, compared with their hash at the target, and removed only then."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from open_webui.storage.base import BlobDamaged, BlobMissing, BlobStore, StoreAway, verified

# Blobs on their way at once.
AT_ONCE: Final = 4
# Hears of each blob that is done: how many, and of how many.
Tell = Callable[[int, int], None]
_EVER: Final = float(2**40)


class Tally(msgspec.Struct):
    """What has been done. there: blobs that the target had. size: bytes of what was copied. bad: hashes of what could not be."""

    total: int
    done: int = 0
    copied: int = 0
    size: int = 0
    there: int = 0
    removed: int = 0
    bad: list[str] = msgspec.field(default_factory=list)


async def move(
    source: BlobStore, target: BlobStore, tell: Tell, *, remove: bool = False, dry_run: bool = False
) -> Tally:
    """Copies what the target does not have. remove: what the target has, by its hash, is removed from the source.

    A server may use both stores meanwhile, unless `remove` is set: it must not read from the source then. Ended in the middle
    and begun again, it goes on with what is left. dry_run: nothing is changed, and the tally says what would be.
    Raises StoreAway.
    """
    keys = [key async for some in source.hashes() for key in some]
    tally = Tally(len(keys))
    left = iter(keys)

    async def carry() -> None:
        for key in left:
            try:
                await _one(source, target, key, tally, remove=remove, dry_run=dry_run)
            except BlobDamaged:
                tally.bad.append(key)
            except BlobMissing:
                # Collected meanwhile.
                tally.total -= 1
                continue
            tally.done += 1
            tell(tally.done, tally.total)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(carry())
    except ExceptionGroup as group:
        reason = group.exceptions[0]
        if not isinstance(reason, StoreAway):
            raise reason from None
        done = f"{tally.done:,} of {tally.total:,} files are done"
        raise StoreAway(f"{reason.detail} {done}; the same command goes on with the rest.") from None
    return tally


async def _one(source: BlobStore, target: BlobStore, key: str, tally: Tally, *, remove: bool, dry_run: bool) -> None:
    size = await source.size(key)
    if size is None:
        raise BlobMissing
    is_there = await target.size(key) == size
    if not is_there and not dry_run:
        await target.put(verified(key, source.read(key)))
    if not dry_run and (remove or not is_there):
        async for _ in verified(key, target.read(key)):
            pass
    tally.there += is_there
    tally.copied += not is_there
    tally.size += 0 if is_there else size
    if remove:
        gone = dry_run or await source.delete(key, _EVER)
        tally.removed += gone
