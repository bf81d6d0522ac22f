"""docs/documents.md is done as a reader would."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs import tutorial
from tests.support.server import Server

pytestmark = pytest.mark.timeout(180)


def test_the_tutorial_is_true(make_server: Callable[..., Server], tmp_path: Path) -> None:
    server = make_server(ENABLE_API_KEYS="true").start()
    tutorial.run(tutorial.page("documents.md"), server.url, tmp_path)
