"""What a server leaves out of the packages it uses, and that whoever asks for it still gets it."""

import subprocess
import sys


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_server_has_no_object_mapper() -> None:
    code = """
import sys
from open_webui.internal.lean_imports import sqlalchemy_without_orm
sqlalchemy_without_orm()
import open_webui.main, open_webui.serving
print([name for name in sys.modules if name.startswith("sqlalchemy.orm")])
"""
    assert run(code) == "[]\n"


def test_whoever_asks_for_it_gets_it() -> None:
    code = """
from open_webui.internal.lean_imports import sqlalchemy_without_orm
sqlalchemy_without_orm()
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
import sqlalchemy.ext.asyncio as package
before = package.AsyncEngine
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session
assert AsyncSession.sync_session_class is Session
assert package.AsyncEngine is before is AsyncEngine and package.create_async_engine is create_async_engine
print(hasattr(package, "nothing"), isinstance(create_async_engine("sqlite+aiosqlite://"), AsyncEngine))
"""
    assert run(code) == "False True\n"


def test_after_the_package_it_changes_nothing() -> None:
    code = """
import sqlalchemy.ext.asyncio as package
from open_webui.internal.lean_imports import sqlalchemy_without_orm
sqlalchemy_without_orm()
import sqlalchemy.ext.asyncio
print(sqlalchemy.ext.asyncio is package, package.AsyncSession.__name__)
"""
    assert run(code) == "True AsyncSession\n"
