"""The sources are read once for all rules about them."""

import gc
from collections.abc import Iterator

import pytest

from tests.architecture.test_house_rules import callee, nodes, tree


@pytest.fixture(autouse=True, scope="package")
def sources() -> Iterator[None]:
    """Forgotten after the last of them. Millions of nodes are no garbage meanwhile."""
    gc.disable()
    yield
    gc.enable()
    for cache in (tree, nodes, callee):
        cache.cache_clear()
