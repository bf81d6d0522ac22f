"""How much of skills there may be: for a person, for a model at once, and in what is imported and exported."""

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from open_webui.errors import OuiError
from open_webui.models import tables
from open_webui.services import skill_import, skill_packages
from tests.open_webui.builtin.test_builtin import CALLED, called
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.models.test_workspace import allow
from tests.open_webui.plugins.test_in_chats import answered, results
from tests.open_webui.plugins.test_tools import count, say
from tests.open_webui.skills.test_in_chats import EVERYBODY, system
from tests.open_webui.skills.test_packages import TEXT, packed, send
from tests.open_webui.skills.test_skills import FILES, ONE, SKILLS, create, form
from tests.support.live import Actor, Live
from tests.support.script import Finish, Text, ToolCall
from tests.support.upstream import Upstream

BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
GENERAL = "/api/v1/auths/admin/config"


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS")
    return await make_live(bypass_model_access_control=True)


@pytest.fixture
async def page(live: Live, user: Actor) -> AsyncIterator[Page]:
    async with open_page(user.client, user.token) as opened:
        yield opened


async def settings(admin: Actor, **changes: Any) -> tuple[int, Any]:
    shown = (await say(admin, "GET", GENERAL))[1]
    return await say(admin, "POST", GENERAL, shown | changes)


# For one person


@BOTH
async def test_a_person_has_so_many_and_no_more(live: Live, user: Actor, admin: Actor) -> None:
    """By every way in, also at the same moment. Another person's count is another person's."""
    await allow(live, "workspace.skills", "workspace.skills_import")
    await live.app.state.oui.save_config({"skills.max_count": 3})
    await create(user)
    done = await asyncio.gather(*(say(user, "POST", f"{SKILLS}/create", form(f"s{n}")) for n in range(5)))
    assert sorted(status for status, _ in done) == [200, 200, 400, 400, 400]
    said = next(told["detail"] for status, told in done if status == 400)
    assert said == "You have 3 skills, and this server keeps 3 for a person. Delete some that you don't need any more."
    assert (await say(user, "POST", f"{ONE}/clone", {"id": "again", "name": "Again"}))[0] == 400
    files = [(f"{name}.md", b"# A") for name in ("one", "two")]
    decisions = [{"action": "create", "id": name, "name": name} for name in ("one", "two")]
    status, taken = await send(user, "import", files, decisions)
    assert (status, [one["status"] for one in taken]) == (200, ["error", "error"])
    assert taken[0]["error"] == said
    assert (await count(live, tables.skill), await count(live, tables.version)) == (3, 3)
    # What is there can be changed and replaced, and one that is gone makes room.
    replace = [{"action": "replace", "id": "baking", "name": "Baking"}]
    assert (await send(user, "import", [("baking.md", b"# New")], replace))[1][0]["status"] == "saved"
    await create(admin, "of-another")
    assert (await say(user, "DELETE", f"{ONE}/delete"))[0] == 200
    await create(user, "last")
    await live.app.state.oui.save_config({"skills.max_count": 0})
    await create(user, "unbounded")


# For a model at once


LONG = "".join(f"{n:04} step\n" for n in range(1_000))


async def test_a_longer_text_opens_as_a_preview_and_is_read_in_parts(
    page: Page, admin: Actor, user: Actor, live: Live, upstream: Upstream
) -> None:
    limits = {"SKILL_CONTENT_MAX_CHARS": 1_000, "SKILL_PREVIEW_MAX_CHARS": 100}
    status, shown = await settings(admin, **limits)
    assert (status, {name: shown[name] for name in limits}) == (200, limits)
    await create(admin, content=LONG, access_grants=[EVERYBODY])
    await create(admin, "short", content="x" * 1_000, access_grants=[EVERYBODY])
    seen = await called(live, user, "view_skill", id="baking")
    assert (seen["content"], seen["total_chars"], seen["next_offset"]) == (LONG[:100], len(LONG), 100)
    assert (await called(live, user, "view_skill", id="short"))["content"] == "x" * 1_000
    part = await called(live, user, "read_skill_file", id="baking", path="SKILL.md", offset=100, max_chars=10**9)
    assert (part["content"], part["next_offset"]) == (LONG[100:1_100], 1_100)
    # A model that calls nothing gets what may be told at once, and is told that there is more.
    await answered(page, "fixed", skill_ids=["baking"], params={"function_calling": "legacy"})
    said = system(upstream) or ""
    assert LONG[:1_000] in said
    assert f"[The last {len(LONG.strip()) - 1_000} characters of these instructions are left out here.]" in said
    body = {"model": "fixed", "messages": [{"role": "user", "content": "Hi"}], "skill_ids": ["baking"]}
    assert (await say(user, "POST", "/api/chat/completions", body))[0] == 200
    assert len(system(upstream) or "") < 1_500


async def test_limits_that_are_none(admin: Actor, live: Live, user: Actor) -> None:
    """What can't be a limit is refused; an empty field means ours, and a preview is no longer than what is read at once."""
    for wrong in (0, -1, "many", 1.5, 10**9):
        status, _ = await settings(admin, SKILL_CONTENT_MAX_CHARS=wrong)
        assert status == 422, wrong
    await create(admin, content=LONG, access_grants=[EVERYBODY])
    assert (await settings(admin, SKILL_CONTENT_MAX_CHARS="", SKILL_PREVIEW_MAX_CHARS=None))[0] == 200
    assert (await called(live, user, "view_skill", id="baking"))["content"] == LONG
    assert (await settings(admin, SKILL_CONTENT_MAX_CHARS=50, SKILL_PREVIEW_MAX_CHARS=5_000))[0] == 200
    assert len((await called(live, user, "view_skill", id="baking"))["content"]) == 50


async def test_without_lazy_loading_the_texts_come_with_the_question(
    page: Page, admin: Actor, upstream: Upstream
) -> None:
    """The tools are offered all the same: files, and the rest of a long text, are read with them."""
    assert (await settings(admin))[1]["ENABLE_SKILL_LAZY_LOADING"] is True
    await settings(admin, ENABLE_SKILL_LAZY_LOADING=False, SKILL_CONTENT_MAX_CHARS=1_000, SKILL_PREVIEW_MAX_CHARS=100)
    await create(admin, content=None, files=FILES, access_grants=[EVERYBODY])
    await create(admin, "long", content=LONG, access_grants=[EVERYBODY])
    call = ToolCall("read_skill_file", ('{"id": "long", "path": "SKILL.md", "offset": 100, "max_chars": 9}',), "c1")
    upstream.rounds = [[call, CALLED], [Text("Done."), Finish("stop")]]
    message = await answered(page, "rounds", skill_ids=["baking", "long"])
    said = system(upstream) or ""
    assert "<content>\n# Bake\n</content>" in said
    assert f"{LONG[:100]}\n[This is the beginning. Read on with read_skill_file: path 'SKILL.md', offset 100.]" in said
    assert LONG[100:110] not in said
    assert json.loads(results(message)[0])["content"] == LONG[100:109]
    # One that refuses tools is asked again, with as much as may be told at once.
    upstream.refuses = "tools"
    await answered(page, "fixed", skill_ids=["long"])
    assert LONG[:1_000] in (system(upstream) or "")


async def test_a_request_names_so_many_skills_and_no_more(page: Page, user: Actor) -> None:
    ids = [f"s{n}" for n in range(1_001)]
    reply = await user.client.post("/api/chat/completions", json=page.ask("fixed", "Hi", skill_ids=ids))
    assert (reply.status_code, "at most 1,000" in reply.json()["detail"]) == (400, True)


# In what is imported and exported


def squeezed(name: str, size: int) -> tuple[str, bytes]:
    """A small archive of a skill with a large file in it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/SKILL.md", TEXT)
        archive.writestr(f"{name}/large.bin", bytes(size))
    return f"{name}.zip", out.getvalue()


def test_what_is_unpacked_is_bounded_over_all_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skill_packages, "MAX_UNPACKED", 2**20)
    archives = [squeezed(f"s{n}", 400_000) for n in range(4)]
    assert len(skill_packages.read(archives[:2])) == 2
    read: list[str] = []

    def taken() -> Any:
        for name, data in archives:
            read.append(name)
            yield name, data

    with pytest.raises(OuiError, match="unpacked") as refused:
        skill_packages.read(taken())
    # Nothing is unpacked after that.
    assert (refused.value.status, read) == (413, ["s0.zip", "s1.zip", "s2.zip"])


def test_files_and_skills_are_counted_over_all_archives() -> None:
    many = [(f"{n}.zip", packed((f"{n}/SKILL.md", TEXT), *((f"{n}/{k}", "") for k in range(150)))) for n in range(14)]
    with pytest.raises(OuiError, match="more than 2,000 files"):
        skill_packages.read(many)
    single, read = packed(("a/SKILL.md", TEXT)), []

    def taken() -> Any:
        for n in range(1_000):
            read.append(n)
            yield f"{n}.zip", single

    with pytest.raises(OuiError, match="At most 100 skills"):
        skill_packages.read(taken())
    assert len(read) == 101


async def test_an_export_whose_ids_can_be_none_gets_ids_of_its_names(live: Live, admin: Actor) -> None:
    rows = [{"id": wrong, "name": "My Tea", "content": "# Tea"} for wrong in ("a b", "x\x00", "../y", "z" * 300, "")]
    status, found = await send(admin, "import/preview", [("e.json", json.dumps(rows).encode())])
    assert (status, [one["id"] for one in found]) == (200, ["a-b", "x", "y", "z" * 100, "my-tea"])
    decisions = [{"action": "create", "id": one["id"], "name": one["name"]} for one in found]
    _, done = await send(admin, "import", [("e.json", json.dumps(rows).encode())], decisions)
    assert [one["status"] for one in done] == ["saved"] * 5


def test_a_text_from_the_web_that_begins_with_a_link_is_a_text() -> None:
    """It is no export for that."""
    name = skill_import._name("https://example.com/tea/SKILL.md", b"[Tea](x)")
    assert name == "tea.md"
    assert skill_import._name("https://example.com/tea", b'[{"name": "a"}]') == "tea.json"
    assert skill_import._name("https://example.com/tea.md", b"PK\x03\x04") == "tea.zip"


@BOTH
async def test_an_export_is_read_in_portions(live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is read than is given out, and contents that several skills have are each skill's."""
    monkeypatch.setattr(skill_import, "_PORTION", 2)
    for n in range(5):
        files = [{"path": "SKILL.md", "content": f"# {n}"}, {"path": "same.md", "content": "same"}]
        await create(admin, f"s{n}", content=None, files=files)
    reply = await admin.client.get(f"{SKILLS}/export")
    found = {one["id"]: {file["path"]: file["content"] for file in one["files"]} for one in reply.json()}
    assert found == {f"s{n}": {"SKILL.md": f"# {n}", "same.md": "same"} for n in range(5)}
    asked = [("ids", f"s{n}") for n in range(5)]
    assert len((await admin.client.get(f"{SKILLS}/export", params=asked)).json()) == 5
    # What may not be had is found out before anything is read.
    monkeypatch.setattr(skill_import, "MAX_EXPORT", 10)
    assert (await admin.client.get(f"{SKILLS}/export", params=[*asked, ("ids", "none")])).status_code == 404
    whole = await admin.client.get(f"{SKILLS}/export")
    assert (whole.status_code, "Export fewer" in whole.json()["detail"]) == (413, True)
