"""What a server leaves out of the packages it uses, and that whoever asks for it still gets it."""

import subprocess
import sys

import pytest

# For fear that a test runner has brought what a server leaves out, each has a process of its own.
LEAN = """
import sys
from open_webui.internal.lean_imports import lean
with lean():
    from open_webui import serving
    from open_webui.main import create_app
from open_webui.env import Settings
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_server_has_only_what_it_needs() -> None:
    code = """
import open_webui.cli
app = create_app(Settings(_env_file=None, env="test"))
left_out = ("sqlalchemy.orm", "typer", "click", "rich", "requests", "uvicorn.main", "engineio.client", "socketio.client")
print([name for name in sys.modules if name.startswith((*left_out, "pydantic.v1"))])
"""
    assert run(LEAN + code) == "[]\n"


@pytest.mark.parametrize(
    ("package", "part", "more"),
    [
        ("sqlalchemy.ext.asyncio", "AsyncEngine", "AsyncSession"),
        ("uvicorn", "Config", "run"),
        ("socketio", "AsyncServer", "AsyncRedisManager"),
        ("engineio", "ASGIApp", "AsyncClient"),
    ],
)
def test_whoever_asks_for_more_gets_it(package: str, part: str, more: str) -> None:
    code = f"""
import {package} as package
before = package.{part}
from {package} import {part}, {more}
assert {part} is before is package.{part} and {more} is package.{more}
print(hasattr(package, "nothing"), type(package).__name__)
"""
    assert run(LEAN + code) == "False module\n"


def test_after_the_package_it_changes_nothing() -> None:
    code = """
import sqlalchemy.ext.asyncio as package
from open_webui.internal.lean_imports import lean
with lean():
    import sqlalchemy.ext.asyncio
print(sqlalchemy.ext.asyncio is package, type(package).__name__, package.AsyncSession.__name__)
"""
    assert run(code) == "True module AsyncSession\n"


def test_models_are_built_when_they_are_used() -> None:
    code = """
from fastapi.openapi.models import Info, OpenAPI, Schema
from open_webui.schemas.folders import FolderForm
from pydantic import BaseModel, ValidationError
models = (FolderForm, OpenAPI, Schema)
print([model.__pydantic_complete__ for model in models])
assert FolderForm(name="Work").name == "Work"
try:
    FolderForm(name="")
except ValidationError as error:
    assert error.errors()[0]["loc"] == ("name",)
assert OpenAPI(openapi="3.1.0", info=Info(title="a", version="1"), paths={}).info.title == "a"
assert Schema.model_validate({"type": "array", "items": {"type": "string"}}).items.type == "string"
print([model.__pydantic_complete__ for model in models])
class Later(BaseModel):
    name: str
print(Later.__pydantic_complete__, Later.model_rebuild(), BaseModel.model_config)
"""
    assert run(LEAN + code) == "[False, False, False]\n[True, True, True]\nTrue None {}\n"


def test_a_route_is_made_when_it_is_asked_for() -> None:
    code = """
from starlette.testclient import TestClient
from open_webui.routing import PolicyRoute
app = create_app(Settings(_env_file=None, env="test"))
made = lambda: [route.path for route in app.routes if isinstance(route, PolicyRoute) and "dependant" in vars(route)]
print(made())
client = TestClient(app, raise_server_exceptions=False)
assert client.get("/robots.txt").status_code == 200
assert client.post("/robots.txt").status_code == 405
# It takes nothing but the request.
print(made())
client.get("/api/v1/chats/c1")
print(made(), [name for name in sys.modules if name.startswith("pydantic.v1")])
from open_webui.openapi import described, document
assert "/api/v1/chats/{id}" in document(app)["paths"]
print([route.path for route, _ in described(app) if "dependant" not in vars(route)])
"""
    assert run(LEAN + code) == "[]\n[]\n['/api/v1/chats/{id}'] []\n[]\n"


def test_a_body_is_read_without_a_word() -> None:
    code = """
import warnings
warnings.simplefilter("error")
from typing import Annotated
from fastapi import Body, FastAPI
from starlette.testclient import TestClient
with lean():
    from open_webui.schemas.folders import FolderForm
app = FastAPI()
@app.post("/")
def take(given: Annotated[FolderForm, Body(alias="form")]) -> str:
    return given.name
with TestClient(app) as client:
    print(client.post("/", json={"name": "Work"}).json(), client.post("/", json={}).status_code)
"""
    assert run(LEAN + code) == "Work 422\n"
