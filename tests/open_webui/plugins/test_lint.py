"""What a plugin needs, and which of it is not there, is told before it is saved."""

import ast

import pytest

from open_webui.plugins import lint
from open_webui.plugins.text import Finding


def found(text: str, manifest: dict[str, str] | None = None, installed: str = "requests") -> list[Finding]:
    return lint.findings(ast.parse(text), manifest or {}, lambda name: name in installed.split())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("from open_webui.internal.db import get_db", "database"),
        ("import open_webui.internal.db as d", "database"),
        ("from open_webui.internal import db", "database"),
        ("from open_webui import internal", "database"),
        ("def f():\n    from open_webui.internal.db import Session", "database"),
        ("from open_webui.main import app", "server itself"),
        ("import open_webui.main", "server itself"),
        ("import open_webui.utils.chat\nopen_webui.utils.chat.generate = 1", "in the place of"),
        ("import open_webui.utils.chat as c\nc.generate = lambda: 1", "in the place of"),
    ],
)
def test_refused(text: str, said: str) -> None:
    first = found(text)[0]
    assert first.refused
    assert said in first.message
    assert first.line


@pytest.mark.parametrize(
    "text",
    [
        "import os, json, asyncio",
        "from open_webui.models.users import Users, UserModel",
        "from open_webui.utils.misc import get_last_user_message",
        "from open_webui.main import generate_chat_completions",
        "from open_webui import constants",
        "import open_webui.models.users",
        "import requests\nfrom requests import get",
        "from . import other",
        "self.x = 1\nx.y = 2",
    ],
)
def test_nothing_to_say(text: str) -> None:
    assert found(text) == []


def test_what_is_missing_is_told_and_not_refused() -> None:
    told = found("import nothere\nimport bs4\nfrom open_webui.utils.middleware import x")
    assert [(one.line, one.refused) for one in told] == [(1, False), (2, False), (3, False)]
    assert "nothere is not installed" in told[0].message
    assert "beautifulsoup4 is not installed" in told[1].message
    assert "open_webui.utils.middleware is not there" in told[2].message


def test_requirements_are_no_news() -> None:
    assert (
        found("import bs4, foo_bar, baz", {"requirements": "beautifulsoup4>=4, Foo-Bar[x]==1,baz ; python_version>'3'"})
        == []
    )


@pytest.mark.parametrize(
    ("wanted", "told"), [("0.5.0", 0), ("0.12.4", 0), ("0.13", 1), ("1", 1), ("v0.99.1", 1), ("new", 0), ("", 0)]
)
def test_releases(wanted: str, told: int) -> None:
    assert len(found("", {"required_open_webui_version": wanted})) == told


def test_there_is_an_end_to_it() -> None:
    assert len(found("\n".join(f"import no_{n}" for n in range(1_000)))) == 50
