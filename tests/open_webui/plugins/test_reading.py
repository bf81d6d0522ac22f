"""A plugin's text is read and never run: its kind, what it says of itself, its forms, and what models are told of its tools."""

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from open_webui.plugins import reading
from open_webui.plugins.frontmatter import requirements
from open_webui.plugins.text import MAX_CONTENT, Unreadable

# Warnings are told to nobody in the process that reads.
pytestmark = pytest.mark.filterwarnings("ignore:Field name")
ADDER = '''
"""
title: Adder
author: me
version: 0.1.0
requirements: aiohttp, some-thing>=2
icon_url: data:image/png;base64,AAAA
no line of ours
"""
from pydantic import BaseModel, Field

class Tools:
    class Valves(BaseModel):
        limit: int = Field(default=5, description="a limit")
    class UserValves(BaseModel):
        nick: str = Field(default="", description="nick")
    def __init__(self):
        self.valves = self.Valves()
    def add_numbers(self, a: int, b: int) -> str:
        """
        Add two numbers.
        :param a: first
        :param b: second
        """
        return str(a + b)
'''


def tool(body: str, head: str = "") -> str:
    return f"{dedent(head)}\nclass Tools:\n    pass\n" + "".join(f"    {line}\n" for line in dedent(body).splitlines())


def valves(body: str, head: str = "") -> dict[str, Any]:
    inner = "".join(f"    {line}\n" for line in dedent(body).splitlines())
    found = reading.read(tool(f"class Valves(BaseModel):\n    pass\n{inner}", head)).valves
    assert found is not None
    properties: dict[str, Any] = found["properties"]
    return properties


def spec(signature: str, docstring: str = "", head: str = "") -> dict[str, Any]:
    text = f'def run({signature}):\n    """{docstring}"""'
    found: dict[str, Any] = reading.read(tool(text, head)).specs[0]
    return found


class TestTheWhole:
    def test_is_what_the_contract_shows(self) -> None:
        read = reading.read(ADDER)
        assert read.kind == "tool"
        assert read.manifest == {
            "title": "Adder",
            "author": "me",
            "version": "0.1.0",
            "requirements": "aiohttp, some-thing>=2",
            "icon_url": "data:image/png;base64,AAAA",
        }
        assert requirements(read.manifest) == ["aiohttp", "some-thing>=2"]
        limit = {"default": 5, "description": "a limit", "title": "Limit", "type": "integer"}
        assert read.valves == {"properties": {"limit": limit}, "title": "Valves", "type": "object"}
        assert read.members.has_user_valves
        assert read.specs == (
            {
                "name": "add_numbers",
                "description": "Add two numbers.",
                "parameters": {
                    "properties": {
                        "a": {"description": "first", "type": "integer"},
                        "b": {"description": "second", "type": "integer"},
                    },
                    "required": ["a", "b"],
                    "type": "object",
                },
            },
        )

    def test_runs_nothing(self, tmp_path: Path) -> None:
        mark = tmp_path / "ran"
        write = f"open({str(mark)!r}, 'w')"
        text = f"""
            {write}
            class Tools:
                {write}
                class Valves(BaseModel):
                    a: str = {write}
                    b: int = Field(default={write}, description={write}, ge={write})
                    c: {write} = 1
                def run(self, a: {write} = {write}, b: "{write}" = 1): ...
        """
        reading.read(dedent(text))
        assert not mark.exists()

    @pytest.mark.parametrize(
        ("name", "kind"),
        [("Tools", "tool"), ("Pipe", "pipe"), ("Filter", "filter"), ("Action", "action"), ("Event", "event")],
    )
    def test_the_class_says_the_kind(self, name: str, kind: str) -> None:
        assert reading.read(f"class {name}: pass").kind == kind

    def test_members(self) -> None:
        read = reading.read(
            dedent("""
            ICON = "data:image/svg+xml;base64," + "AA"
            file_handler = True
            class Filter:
                name = "Mine"
                class Valves(BaseModel):
                    priority: int = 3
                def __init__(self):
                    self.toggle = True
                    self.icon = ICON
                    self.actions = [{"id": "a", "name": "A", "icon_url": "x"}, {"name": "none"}, 3]
                    self.other = unknown()
                def inlet(self, body): return body
                async def stream(self, event): return event
                def _own(self): ...
            """)
        )
        members = read.members
        assert members.methods == ("inlet", "stream")
        assert (members.toggle, members.name, members.priority, members.file_handler) == (True, "Mine", 3, True)
        assert members.icon == "data:image/svg+xml;base64,AA"
        assert members.actions == ({"id": "a", "name": "A", "icon": "x"},)


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("class Tools:\n  def x(:", r"not valid Python.*line 2"),
            ("x=1", "no class Tools, Pipe, Filter, Action or Event"),
            ("", "no class"),
            ("Tools = object", "no class"),
            ("class Pipeline: pass", "a pipelines server"),
            ("class Tools: pass\nclass Pipe: pass", "Tools, Pipe"),
            ("class Tools: pass\n#" + "x" * MAX_CONTENT, "1,000,000 characters"),
            ("class Tools:\n  x = " + "-" * 100_000 + "1", "nested too deeply|not valid"),
            ("class Tools:\n  x = a" + ".a" * 50_000, "nested too deeply"),
            ("class Tools:\n  x = " + "(" * 1_000, "not valid Python"),
            ("class Tools: pass\n\x00", "not valid Python|null"),
            ("x = '\\N{no such}'\nclass Tools: pass", "not valid Python"),
        ],
    )
    def test_with_a_sentence(self, text: str, said: str) -> None:
        with pytest.raises(Unreadable, match=said):
            reading.read(text)


class TestForms:
    def test_an_alias_is_no_form(self) -> None:
        """As the wire has it: only a class that is written inside the plugin's."""
        text = "class V(BaseModel):\n    a: int = 1\nclass Tools:\n    Valves = V\n    class I:\n        class UserValves: ..."
        read = reading.read(text)
        assert read.valves is None
        assert read.user_valves is None

    def test_types(self) -> None:
        found = valves(
            """
            a: Optional[int] = None
            b: List[str] = []
            c: Literal["x", "y"] = "x"
            d: dict[str, float] = Field(default_factory=dict)
            e: "int | str" = 3
            f: typing.Union[int, None] = None
            g: Unheard = 3
            h: Colour = Colour.RED
            i: Annotated[int, Field(ge=1, description="told")] = 1
            j: bool
            """,
            """
            class Colour(str, Enum):
                RED = "red"
                BLUE = "blue"
            """,
        )
        assert found["a"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]
        assert found["b"] == {"default": [], "items": {"type": "string"}, "title": "B", "type": "array"}
        assert found["c"]["enum"] == ["x", "y"]
        assert found["d"]["additionalProperties"] == {"type": "number"}
        assert found["e"]["anyOf"] == [{"type": "integer"}, {"type": "string"}]
        assert found["f"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]
        assert found["g"] == {"default": 3, "title": "G"}
        assert (found["h"]["enum"], found["h"]["default"]) == (["red", "blue"], "red")
        assert found["i"] == {"default": 1, "description": "told", "minimum": 1, "title": "I", "type": "integer"}
        assert found["j"] == {"title": "J", "type": "boolean"}

    def test_defaults(self) -> None:
        found = valves(
            """
            BASE = "http://x"
            a: str = URL
            b: str = BASE
            c: str = "a" + "b"
            d: int = -3
            e: str = os.getenv("KEY", "secret")
            f: str = f"{URL}"
            g: int = 10 ** 10 ** 10
            h: list = Field(default_factory=lambda: ["x"])
            i: str = Field(default_factory=make)
            """,
            'URL = "http://y"',
        )
        assert {name: field.get("default") for name, field in found.items()} == {
            "a": "http://y", "b": "http://x", "c": "ab", "d": -3, "e": None, "f": None, "g": None, "h": ["x"], "i": None,
        }  # fmt: skip
        assert "secret" not in str(found)

    def test_selections_and_bounds(self) -> None:
        found = valves(
            """
            a: str = Field("x", json_schema_extra={"input": {"type": "select", "options": "get_options"}})
            b: int = Field(3, ge=1, le=MOST, title="Bee", examples=[1, 2])
            c: str = Field("x", pattern="(", max_length=3)
            d: str = Field("x", ge=1, description=3)
            e: int = Field(3, ge=broken(), json_schema_extra=4)
            """,
            "MOST = 9",
        )
        assert found["a"]["input"] == {"type": "select", "options": "get_options"}
        assert (found["b"]["minimum"], found["b"]["maximum"], found["b"]["title"]) == (1, 9, "Bee")
        assert found["c"]["default"] == "x"
        assert found["d"]["type"] == "string"
        assert found["e"]["type"] == "integer"

    def test_names_that_pydantic_has_for_itself(self) -> None:
        found = valves("copy: int = 1\njson: str = 'x'\nmodel_id: str = ''\nmodel_config = {}\n_own: int = 1\nraw = 3")
        assert found.keys() == {"copy", "json", "model_id"}

    def test_what_is_built_upon(self) -> None:
        head = "class Base(BaseModel):\n    a: int = 1\n    b: int = 2\nclass Loop(Loop):\n    x: int = 1"
        text = f"{head}\nclass Tools:\n    class Valves(Base, Loop):\n        b: str = ''"
        found = reading.read(text).valves
        assert found is not None
        assert {name: one["type"] for name, one in found["properties"].items()} == {
            "a": "integer", "b": "string", "x": "integer",
        }  # fmt: skip

    def test_a_model_in_itself(self) -> None:
        found = valves("node: Node = None", "class Node(BaseModel):\n    child: Optional['Node'] = None")
        child = found["node"]["properties"]["child"]
        assert child["anyOf"][0] == {"additionalProperties": True, "type": "object"}

    def test_values(self) -> None:
        assert reading.check(ADDER, "Valves", {"limit": "7", "unheard": 1}) == {"limit": 7}
        assert reading.check(ADDER, "UserValves", {}) == {}
        for given in ({"limit": "x"}, {"limit": None}, {"limit": [1]}):
            with pytest.raises(Unreadable, match="limit: Input should be"):
                reading.check(ADDER, "Valves", given)
        with pytest.raises(Unreadable, match="nothing can be set"):
            reading.check("class Tools: pass", "Valves", {})

    def test_values_of_bounds_that_fit_no_type(self) -> None:
        text = tool("class Valves(BaseModel):\n    a: str = Field('x', ge=3)")
        with pytest.raises(Unreadable, match="can't be checked"):
            reading.check(text, "Valves", {"a": "y"})


class TestTools:
    def test_what_is_no_tool(self) -> None:
        text = """
            def _own(self): ...
            def __dunder__(self): ...
            @property
            def prop(self): ...
            class Inner:
                def inner(self): ...
            async def one(self): ...
            x = lambda self: 1
        """
        assert [one["name"] for one in reading.read(tool(text)).specs] == ["one"]
        assert reading.read("class Filter:\n    def inlet(self, body): ...").specs == ()

    def test_parameters_of_the_server_are_hidden(self) -> None:
        parameters = spec("self, q: str, __user__: dict = {}, __event_emitter__=None, *args, _own=1, **rest")[
            "parameters"
        ]
        assert parameters == {"properties": {"q": {"type": "string"}}, "required": ["q"], "type": "object"}

    def test_without_parameters(self) -> None:
        assert spec("self") == {
            "name": "run",
            "description": "run",
            "parameters": {"properties": {}, "type": "object"},
        }

    def test_types_and_defaults(self) -> None:
        properties = spec(
            "self, a, b=1, c=True, d: Optional[str] = None, e: list[int] = [], /, *, f: Literal['x', 3], g: Unknown, title: str",
        )["parameters"]["properties"]
        assert properties == {
            "a": {},
            "b": {"default": 1, "type": "integer"},
            "c": {"default": True, "type": "boolean"},
            "d": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "e": {"default": [], "items": {"type": "integer"}, "type": "array"},
            "f": {"enum": ["x", 3]},
            "g": {},
            "title": {"type": "string"},
        }

    def test_fields_and_models(self) -> None:
        head = "class Point(BaseModel):\n    x: int = Field(description='across')\n    title: str = ''"
        found = spec("self, a: int = Field(default=2, description='first'), p: Point = None", head=head)
        properties = found["parameters"]["properties"]
        assert properties["a"] == {"default": 2, "description": "first", "type": "integer"}
        assert properties["p"]["properties"] == {
            "x": {"description": "across", "type": "integer"},
            "title": {"default": "", "type": "string"},
        }

    def test_docstrings(self) -> None:
        text = """
        Looks it up.

        Slowly.
        :param str a: what it is
            and more
        :param unheard: nothing
        :return: a thing
        : and this is lost
        """
        found = spec("self, a: str, b: Annotated[str, 'told']", text)
        assert found["description"] == "Looks it up.\n\nSlowly."
        assert found["parameters"]["properties"]["a"]["description"] == "what it is and more"
        assert found["parameters"]["properties"]["b"]["description"] == "told"

    def test_the_last_of_two_with_one_name_counts(self) -> None:
        found = reading.read(tool("def a(self, x): ...\ndef a(self, y): ..."))
        assert [list(one["parameters"]["properties"]) for one in found.specs] == [["y"]]
