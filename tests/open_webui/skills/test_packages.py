"""Skills that come in files: read with bounds, looked at, taken in as it was decided, fetched; and handed out again."""

import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from open_webui.errors import OuiError
from open_webui.models import tables
from open_webui.services import skill_packages
from open_webui.services.skill_files import front_matter, with_front_matter
from open_webui.services.skill_import import raw_url
from tests.open_webui.models.test_workspace import allow
from tests.open_webui.plugins.test_tools import count, say
from tests.open_webui.skills.test_skills import FILES, ONE, SKILLS, create
from tests.support.live import Actor, Live
from tests.support.service import Asked, Service, a_service

TEXT = "---\nname: bread\ndescription: Bakes it\n---\n# Bake"
RAW = "https://raw.githubusercontent.com/o/r"


@pytest.fixture
def database_kind() -> str:
    """Nothing here depends on it."""
    return "sqlite"


def packed(*files: tuple[str, str | bytes], change: Callable[[zipfile.ZipInfo], None] = lambda _: None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, data in files:
            info = zipfile.ZipInfo(path)
            change(info)
            archive.writestr(info, data)
    return out.getvalue()


def a_link(info: zipfile.ZipInfo) -> None:
    if info.filename.endswith("link"):
        info.external_attr = 0o120777 << 16


def encrypted() -> bytes:
    """The bit that says so, in both of its places."""
    data = bytearray(packed(("a/SKILL.md", TEXT)))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    return bytes(data)


def twice() -> bytes:
    data = packed(("a/SKILL.md", TEXT), ("a/x.md", "1"), ("a/y.md", "2"))
    return data.replace(b"a/y.md", b"a/x.md")


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/SKILL.md", TEXT)
        for n in range(8):
            archive.writestr(f"a/{n}", bytes(10 * 2**20))
    return out.getvalue()


def lying() -> bytes:
    """One that says of its size less than there is."""
    data = packed(("a/SKILL.md", TEXT * 100))
    size = len(TEXT * 100).to_bytes(4, "little")
    return data.replace(size, (5).to_bytes(4, "little"))


def no_utf8_name() -> bytes:
    data = packed(("a/SKILL.md", TEXT), ("a/ä", "1"))
    return data.replace("ä".encode(), b"\xff\xfe")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.zip", b"PK nothing", "damaged"), ("a.zip", b"", "damaged"), ("a.zip", packed(("a/SKILL.md", TEXT))[:-30], "damaged"),
        ("a.zip", lying(), "damaged"), ("a.zip", encrypted(), "encrypted"), ("a.zip", twice(), "twice"),
        ("a.zip", packed(("a/SKILL.md", TEXT), ("a/link", "/etc/passwd"), change=a_link), "link"),
        ("a.zip", packed(("a/SKILL.md", TEXT), ("../b", "x")), "leave its folder"),
        ("a.zip", packed(("a/SKILL.md", TEXT), ("/b", "x")), "leave its folder"),
        ("a.zip", packed(("a/SKILL.md", TEXT), ("a/b\\c", "x")), "leave its folder"),
        ("a.zip", packed(("a/SKILL.md", TEXT), ("a/b:c", "x")), "character"),
        ("a.zip", packed(("a/SKILL.md", b"\xff\xfe")), "UTF-8"), ("a.zip", no_utf8_name(), "UTF-8"),
        ("a.zip", packed(("a/SKILL.md", TEXT), ("a/skill.md", TEXT)), "twice"),
        ("a.zip", packed(("a/SKILL.md", TEXT), *((f"a/{n}", "") for n in range(2_001))), "more than 2,000 files"),
        ("a.zip", packed(("a/SKILL.md", TEXT), *((f"a/{n}", "") for n in range(300))), "200 files"),
        ("a.zip", packed(*((f"{n}/SKILL.md", TEXT) for n in range(101))), "At most 100 skills"),
        ("a.zip", bomb(), "unpacked"), ("a.zip", packed(("readme.txt", "x")), "no skill"),
        ("a.json", b"{", "no JSON"), ("a.json", b"[" * 5_000, "no JSON"), ("a.json", b"7", "no export"),
        ("a.json", b"{}", "name"),
        ("a.json", b'{"name": "a"}', "a skill has a text"), ("a.json", b"[]", "no skill"), ("a.json", b"\xff", "no JSON"),
        ("a.json", b'{"name": "a", "files": [{"path": "../SKILL.md", "content": ""}]}', "own folder"),
        ("a.txt", b"x", "no skill"), ("a.md", b"\xff", "UTF-8"), ("a.md", b"x" * 2_000_000, "KB"),
    ],
)  # fmt: skip
def test_what_is_not_taken(name: str, data: bytes, said: str) -> None:
    with pytest.raises(OuiError) as refused:
        skill_packages.read([(name, data)])
    assert said.lower() in refused.value.detail.lower()
    assert refused.value.status in {400, 413}


def test_what_is_taken() -> None:
    """Folders with a SKILL.md, whatever lies around them; texts; exports; and what systems leave in archives is passed over."""
    archive = packed(
        ("r-main/README.md", "x"), ("r-main/bread/SKILL.md", TEXT), ("r-main/bread/a/b.txt", "b"),
        ("r-main/bread/.DS_Store", "x"),
        ("__MACOSX/r-main/bread/SKILL.md", "x"), ("r-main/bread/inner/SKILL.md", "inner"), ("r-main/cake/skill.md", "# Cake"),
        ("r-main/empty/", ""),
    )  # fmt: skip
    exported = json.dumps(
        [{"id": "tea", "name": "Tea", "description": "d", "files": FILES, "is_active": False}]
    ).encode()
    found = skill_packages.read([
        ("r.zip", archive), ("x.skill", packed(("SKILL.md", "# At the root"))), ("tea.json", exported), ("Old Way.md", b"# Old"),
        ("folder/SKILL.md", b"# In a folder"), ("folder/a.png", b"\x89PNG\x00"),
    ])  # fmt: skip
    assert [(one.id, one.name, list(one.files)) for one in found] == [
        ("cake", "cake", ["SKILL.md"]), ("bread", "bread", ["SKILL.md", "a/b.txt", "inner/SKILL.md"]), ("x", "x", ["SKILL.md"]),
        ("tea", "Tea", ["SKILL.md", "doughs/rye.md", "oven.png"]), ("old-way", "Old Way", ["SKILL.md"]),
        ("folder", "folder", ["SKILL.md", "a.png"]),
    ]  # fmt: skip
    assert (found[1].description, found[3].is_active, found[5].files["a.png"].encoding) == ("Bakes it", False, "base64")


def test_a_name_that_says_not_what_it_is() -> None:
    """Many programs write UTF-8 and don't say so."""
    data = bytearray(packed(("a/SKILL.md", TEXT), ("a/ä.md", "x")))
    for mark, at in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        data[data.rindex(mark) + at] &= ~0x08
    (found,) = skill_packages.read([("a.zip", bytes(data))])
    assert "ä.md" in found.files


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("---\nname: a\ndescription: 'b: c'\n---\n", {"name": "a", "description": "b: c"}),
        ("---\ndescription: |\n  one\n  two\nmetadata:\n  x: 1\n---", {"description": "one two", "metadata": "x: 1"}),
        ("---\r\nname: a\r\n---\r\n", {"name": "a"}),
        ("---\nname: a\n", {}), ("# x\n---\nname: a\n---", {}), ("", {}), ("---\n- a\n: b\n---", {}),
    ],
)  # fmt: skip
def test_front_matter(text: str, found: dict[str, str]) -> None:
    assert front_matter(text) == found


def test_a_text_for_others_says_what_it_is_called() -> None:
    told = with_front_matter("# Bake", 'My "bread"', "a\nb")
    assert front_matter(told) == {"name": "My 'bread'", "description": "a b"}
    assert with_front_matter(TEXT, "other", None) == TEXT


@pytest.mark.parametrize(
    ("url", "raw"),
    [
        ("https://github.com/o/r/blob/main/a/SKILL.md", f"{RAW}/main/a/SKILL.md"),
        ("https://github.com/o/r/tree/main/a", f"{RAW}/main/a/SKILL.md"),
        ("https://example.com/tree/x.md", "https://example.com/tree/x.md"),
    ],
)
def test_addresses(url: str, raw: str) -> None:
    assert raw_url(url) == raw


# Over the API


async def send(actor: Actor, door: str, files: list[tuple[str, bytes]], decisions: Any = None) -> tuple[int, Any]:
    data = (
        {} if decisions is None else {"decisions": decisions if isinstance(decisions, str) else json.dumps(decisions)}
    )
    reply = await actor.client.post(f"{SKILLS}/{door}", files=[("files", one) for one in files], data=data)
    return reply.status_code, reply.json()


async def test_taking_some_in(live: Live, admin: Actor, user: Actor) -> None:
    await allow(live, "workspace.skills", "workspace.skills_import")
    await create(admin, "theirs")
    mine = (await create(user))["version_id"]
    files = [(f"{name}.md", f"# {name}".encode()) for name in ("baking", "theirs", "new", "left")]
    status, found = await send(user, "import/preview", files)
    assert status == 200
    assert [(one["id_taken"], one["can_replace"], one["expected_version_id"]) for one in found] == [
        (True, True, mine), (True, False, None), (False, False, None), (False, False, None),
    ]  # fmt: skip
    assert found[2]["files"] == [{"path": "SKILL.md", "size": 5}]
    actions = ("replace", "replace", "create", "skip")
    decisions = [
        {"action": action, "id": one["id"], "name": one["name"], "expected_version_id": one["expected_version_id"]}
        for action, one in zip(actions, found, strict=True)
    ]
    status, done = await send(user, "import", files, decisions)
    assert (status, [one["status"] for one in done]) == (200, ["saved", "error", "saved", "skipped"])
    assert done[1]["error"]
    assert (await say(user, "GET", ONE))[1]["content"] == "# baking"
    # It is another version by now.
    status, done = await send(user, "import", files[:1], decisions[:1])
    assert done[0]["status"] == "error"
    assert await count(live, tables.skill) == 3


async def test_bad_forms(live: Live, user: Actor) -> None:
    files = [("a.md", b"# A")]
    assert (await send(user, "import/preview", files))[0] == 401
    await allow(live, "workspace.skills_import")
    for door in ("import/preview", "import"):
        assert (await user.client.post(f"{SKILLS}/{door}")).status_code == 422
        assert (await user.client.post(f"{SKILLS}/{door}", data={"files": "text"})).status_code == 422
    assert (await send(user, "import", files))[0] == 422
    for bad in (
        "",
        "{",
        "7",
        "[]",
        '[{"action": "burn", "id": "a", "name": "a"}]',
        '[{"action": "skip"}]',
        "[" * 3_000,
    ):
        assert (await send(user, "import", files, bad))[0] == 400, bad
    for skill_id in ("../a", "a b", "..", "x" * 256):
        decision = {"action": "create", "id": skill_id, "name": "a"}
        status, done = await send(user, "import", files, [decision])
        assert status == 400 or done[0]["status"] == "error", skill_id
    assert (await send(user, "import/preview", [("a.zip", b"PK")]))[0] == 400
    assert await count(live, tables.skill) == 0


async def test_more_than_is_taken(live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_webui.services.skill_import.MAX_UPLOAD", 1_000)
    assert (await send(admin, "import/preview", [("a.md", b"x" * 600), ("b.md", b"x" * 600)]))[0] == 413


async def test_handing_out(admin: Actor) -> None:
    """An archive and an export come back as they were."""
    first = (await create(admin, content=None, files=FILES))["version_id"]
    await say(admin, "POST", f"{ONE}/update", {"id": "x", "name": "Later", "content": "later"})
    await create(admin, "tea")
    reply = await admin.client.get(f"{SKILLS}/export")
    assert [one["id"] for one in reply.json()] == ["baking", "tea"]
    for kind, name in (("zip", "a.zip"), ("skill", "a.skill"), ("json", "a.json")):
        params = {"format": kind, "ids": "baking", "version_id": first}
        reply = await admin.client.get(f"{SKILLS}/export", params=params)
        assert reply.status_code == 200
        if kind != "json":
            assert f"baking.{kind}" in reply.headers["content-disposition"]
        (one,) = skill_packages.read([(name, reply.content)])
        assert (one.id, one.name, one.description, list(one.files)) == (
            "baking", "Baking", "How bread is made", ["SKILL.md", "doughs/rye.md", "oven.png"],
        )  # fmt: skip
    for params, status in (
        ({"format": "exe"}, 400), ({"ids": "none"}, 404), ({"version_id": first}, 400),
        ({"ids": "tea", "version_id": first}, 404),
        ({"ids": "x\x00", "format": "zip"}, 404),
    ):  # fmt: skip
        assert (await admin.client.get(f"{SKILLS}/export", params=params)).status_code == status, params


@pytest.fixture
async def service(live: Live, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    def answer(asked: Asked) -> web.Response:
        pages = {
            "/bread/SKILL.md": TEXT.encode(),
            "/a": packed(("tea/SKILL.md", "# Tea")),
            "/odd": b"\xff\xfe",
            "/o.json": b"[7]",
        }
        return web.Response(body=pages[asked.path]) if asked.path in pages else web.Response(status=404)

    async with a_service() as running:
        running.answer = answer
        yield running


async def test_from_the_web(
    live: Live, admin: Actor, user: Actor, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = f"{SKILLS}/load/url"
    assert (await say(admin, "POST", load, {"url": f"{service.url}/bread/SKILL.md"}))[0] == 400
    assert service.asked == []
    state = live.app.state.oui
    monkeypatch.setattr(state, "settings", state.settings.model_copy(update={"enable_rag_local_web_fetch": True}))
    (one,) = (await say(admin, "POST", load, {"url": f"{service.url}/bread/SKILL.md"}))[1]
    assert (one["id"], one["description"], one["files"][0]["content"]) == ("bread", "Bakes it", TEXT)
    (one,) = (await say(admin, "POST", load, {"url": f"{service.url}/a"}))[1]
    assert (one["id"], one["name"]) == ("tea", "tea")
    for path in ("none", "odd", "o.json"):
        assert (await say(admin, "POST", load, {"url": f"{service.url}/{path}"}))[0] == 400, path
    assert (await say(user, "POST", load, {"url": f"{service.url}/a"}))[0] == 401
    for body in ({}, {"url": ""}, {"url": 3}):
        assert (await say(admin, "POST", load, body))[0] == 422
