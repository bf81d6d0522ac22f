"""Memory after many loads and unloads: in this process, and in the server's while models run in others."""

import asyncio
import ctypes
import gc
import sys

import psutil
import pytest

from llamaforge import LlamaForge
from llamaforge.pool import Pool, Spec

MB = 10**6
pytest.importorskip("xllamacpp")
# The tiny model has 2 MB: the short form finds a model that stays each time, the long one what leaks 100 kB.
ROUNDS = [pytest.param(20, id="20"), pytest.param(200, id="200", marks=pytest.mark.slow)]
ALLOWED = 16 * MB


def resident():
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # what the allocator keeps of freed memory is no leak
    return psutil.Process().memory_info().rss


def growth(before, after):
    return f"{(after - before) / MB:.1f} MB grown, from {before / MB:.0f} MB"


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.timeout(600)
def test_loads_and_unloads_of_the_library_leave_memory_flat(tiny_gguf, rounds):
    with LlamaForge(":memory:") as forge:
        forge.add_model("tiny", tiny_gguf, parameters={"n_ctx": 256, "n_threads": 1, "n_parallel": 1})

        def again():
            forge.load_model("tiny")
            assert forge.generate("Hi", max_tokens=2, temperature=0) == "Hello from"
            assert forge.unload_model("tiny")

        for _ in range(5):  # buffers that stay
            again()
        before = resident()
        for _ in range(rounds):
            again()
        assert resident() - before < ALLOWED, growth(before, resident())
        assert forge._library.loaded.used_bytes() == 0


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.timeout(600)
async def test_loads_and_unloads_of_a_pool_leave_memory_and_descriptors_flat(rounds):
    spec = Spec("m", "doctor", "eliza")
    async with Pool() as pool:
        for _ in range(3):
            await pool.load(spec)
            await pool.unload("m")
        before, descriptors = resident(), psutil.Process().num_fds()
        for _ in range(rounds):
            async with pool.lease(spec):
                pass
            await pool.unload("m", force=True)
        # The last process is gone; the task that saw to it ends with the loop's next turns.
        await asyncio.wait_for(asyncio.gather(*pool._tasks), 10)
        assert resident() - before < ALLOWED, growth(before, resident())
        assert psutil.Process().num_fds() == descriptors
        assert not pool._supervisor._watched
        await asyncio.sleep(0)
        assert not pool._tasks
