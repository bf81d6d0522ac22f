"""What plugins may ask the server: with the rights of the one who calls them, and never more."""

import base64
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from open_webui.errors import OuiError
from open_webui.plugins.host import PluginFailed
from open_webui.plugins.source import Call
from open_webui.services.facades import answering
from open_webui.services.facades.asking import MOST_DEEP
from open_webui.services.facades.table import ROWS
from oui_sandbox.facade.remote import MODULES
from tests.support.live import Actor, Live, sign_up, used
from tests.support.plugins import tool, until
from tests.support.upstream import Upstream

HEAD = """
from open_webui.models.users import Users
from open_webui.models.chats import Chats
from open_webui.models.files import Files, FileForm
from open_webui.models.models import Models
from open_webui.models.tools import Tools as StoredTools
from open_webui.models.functions import Functions
from open_webui.models.config import Config
from open_webui.models.folders import Folders
from open_webui.models.groups import Groups
from open_webui.models.memories import Memories
from open_webui.models.knowledge import Knowledges
from open_webui.storage.provider import Storage
from open_webui.routers.files import upload_file_handler, get_file_content_by_id
from open_webui.utils.chat import generate_chat_completion
import io, json
"""


async def run(live: Live, actor: Actor, body: str, **arguments: Any) -> Any:
    """What a tool with this body returns to somebody. It is told of the arguments as `given`."""
    state = live.app.state.oui
    principal = await state.identify(actor.token)
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    source = tool(f"async def run(self, given, __user__, __request__=None):\n{lines}", name="asker", head=HEAD)
    context = {"user": {"id": actor.id, "name": actor.name, "role": actor.role}, "request": {}}
    answer = answering(state, principal)
    return await state.plugins.call(source, "run", {"given": arguments}, context=context, answer=answer)


async def ask(live: Live, actor: Actor, name: str, *args: Any, depth: int = 0, **kwargs: Any) -> Any:
    """One question, without a plugin's process."""
    state = live.app.state.oui
    principal = await state.identify(actor.token)
    answer = answering(state, principal)
    answer._memory.depth = depth
    return await answer(Call("asker", "run", {}), name, {"args": list(args), "kwargs": kwargs})


async def new_chat(actor: Actor, text: str = "Hello") -> str:
    message = {"id": "m1", "role": "user", "content": text, "parentId": None, "childrenIds": []}
    chat = {"title": "Mine", "models": ["fixed"], "history": {"currentId": "m1", "messages": {"m1": message}}}
    reply = await actor.client.post("/api/v1/chats/new", json={"chat": chat})
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


async def new_file(actor: Actor, data: bytes = b"papaya", name: str = "fruit.txt") -> str:
    reply = await actor.client.post("/api/v1/files/?process=false", files={"file": (name, data, "text/plain")})
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


def test_each_question_of_the_sandbox_has_an_answer() -> None:
    asked = {
        f"{prefix}.{method}" for names in MODULES.values() for prefix, methods in names.values() for method in methods
    }
    assert asked <= ROWS.keys()


async def test_people_are_shown_as_lists_show_them(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    body = """
me = await Users.get_user_by_id(__user__["id"])
plain = Users.get_user_by_id(given["other"])
nobody = await Users.get_user_by_id("nobody")
return [me.email, me.role, plain.name, plain.email, nobody, await Users.get_user_by_email(given["email"]) is None,
        hasattr(me, "oauth"), [one["name"] for one in (await Users.get_users())["users"]]]
"""
    given = {"other": other.id, "email": other.email}
    shown = await run(live, user, body, **given)
    assert shown[:7] == [user.email, "user", other.name, "", None, True, False]
    assert set(shown[7]) == {admin.name, user.name, other.name}
    seen = await run(live, admin, body, **given)
    assert seen[3] == other.email
    assert seen[5] is False


async def test_chats_of_other_people_are_not_there(live: Live, user: Actor, other: Actor) -> None:
    mine, theirs = await new_chat(user), await new_chat(other)
    body = """
chat = await Chats.get_chat_by_id(given["mine"])
messages = Chats.get_messages_map_by_chat_id(given["mine"])
one = await Chats.get_message_by_id_and_message_id(given["mine"], "m1")
return [chat.title, chat.chat["history"]["currentId"], list(messages), one["content"],
        [row.id for row in await Chats.get_chat_list_by_user_id(__user__["id"])],
        await Chats.get_chat_by_id(given["theirs"]), Chats.get_chat_title_by_id(given["theirs"]),
        await Chats.get_chat_by_id_and_user_id(given["theirs"], given["other"]),
        Chats.get_messages_map_by_chat_id(given["theirs"]),
        await Chats.get_chat_list_by_user_id(given["other"])]
"""
    found = await run(live, user, body, mine=mine, theirs=theirs, other=other.id)
    assert found == ["Mine", "m1", ["m1"], "Hello", [mine], None, None, None, None, []]


async def test_chats_are_changed_with_the_persons_rights(live: Live, user: Actor, other: Actor) -> None:
    mine, theirs = await new_chat(user), await new_chat(other)
    body = """
files = await Chats.add_message_files_by_id_and_message_id(given["chat"], "m1", [{"type": "image", "url": "/x.png"}])
await Chats.upsert_message_to_chat_by_id_and_message_id(given["chat"], "m1", {"content": "Bye", "files": files})
await Chats.update_chat_title_by_id(given["chat"], "Other")
await Chats.add_chat_tag_by_id_and_user_id_and_tag_name(given["chat"], __user__["id"], "Blue Sky")
tags = await Chats.get_chat_tags_by_id_and_user_id(given["chat"], __user__["id"])
return [len(files), [tag.id for tag in tags]]
"""
    assert await run(live, user, body, chat=mine) == [1, ["blue_sky"]]
    stored = (await user.client.get(f"/api/v1/chats/{mine}")).json()
    message = stored["chat"]["history"]["messages"]["m1"]
    assert (stored["title"], message["content"], len(message["files"])) == ("Other", "Bye", 1)
    for name, args in (
        ("update_chat_title_by_id", ("x",)),
        ("add_message_files_by_id_and_message_id", ("m1", [{"url": "/x.png"}])),
        ("upsert_message_to_chat_by_id_and_message_id", ("m1", {"content": "x"})),
        ("add_chat_tag_by_id_and_user_id_and_tag_name", (user.id, "x")),
        ("update_chat_by_id", ({"title": "x"},)),
    ):
        with pytest.raises(OuiError):
            await ask(live, user, f"chats.{name}", theirs, *args)
    untouched = (await other.client.get(f"/api/v1/chats/{theirs}")).json()
    assert (untouched["title"], untouched["chat"]["history"]["messages"]["m1"]["content"]) == ("Mine", "Hello")


async def test_nothing_is_made_in_somebody_elses_name(live: Live, user: Actor, other: Actor) -> None:
    chat = {"chat": {"title": "Forged"}}
    for name, args in (
        ("chats.insert_new_chat", ("c", other.id, chat)),
        ("files.insert_new_file", (other.id, {"id": "f1", "filename": "x.txt", "data": {"content": "x"}})),
        ("chats.update_chat_folder_id_by_id_and_user_id", ("c", other.id, None)),
    ):
        with pytest.raises(OuiError, match="for the person who called it"):
            await ask(live, user, name, *args)
    made = await ask(live, user, "chats.insert_new_chat", "c", user.id, chat)
    assert (made["user_id"], made["title"]) == (user.id, "Forged")


async def test_files_of_other_people_are_not_there(live: Live, user: Actor, other: Actor) -> None:
    mine, theirs = await new_file(user), await new_file(other, b"banana")
    body = """
file = await Files.get_file_by_id(given["mine"])
with open(Storage.get_file(file.path), "rb") as opened:
    stored = opened.read()
response = get_file_content_by_id(given["mine"], user=__user__)
try:
    Storage.get_file(given["theirs"] + "_fruit.txt")
    refused = ""
except Exception as error:
    refused = str(error)
return [file.filename, file.path, stored.decode(), response.body.decode(),
        [one.id for one in await Files.get_files_by_user_id(__user__["id"])],
        await Files.get_file_by_id(given["theirs"]), await Files.get_files_by_user_id(given["other"]),
        [one.id for one in await Files.get_files_by_ids([given["mine"], given["theirs"]])],
        await Files.delete_file_by_id(given["theirs"]), refused]
"""
    found = await run(live, user, body, mine=mine, theirs=theirs, other=other.id)
    assert found[:9] == [
        "fruit.txt", f"{mine}_fruit.txt", "papaya", "papaya", [mine], None, [], [mine], False,
    ]  # fmt: skip
    assert "no such file" in found[9]


async def test_files_are_made(live: Live, user: Actor) -> None:
    body = """
from fastapi import UploadFile
from starlette.datastructures import Headers
upload = UploadFile(file=io.BytesIO(b"\\x89PNG one"), filename="one.png", headers=Headers({"content-type": "image/png"}))
one = await upload_file_handler(__request__, file=upload, metadata={"chat_id": "c"}, process=False, user=__user__)
contents, path = Storage.upload_file(io.BytesIO(b"two"), "two.txt", {})
form = FileForm(id="0f6c1b2e-two", filename="two.txt", path=path, data={}, meta={"content_type": "text/plain"})
two = await Files.insert_new_file(__user__["id"], form)
try:
    await Files.insert_new_file(__user__["id"], FileForm(id="three", filename="t.txt", path=given["path"]))
    refused = ""
except Exception as error:
    refused = str(error)
return [one.id, one.meta["content_type"], two.id, contents.decode(), refused]
"""
    found = await run(live, user, body, path="staged-x_two.txt")
    assert found[1:4] == ["image/png", "0f6c1b2e-two", "two"]
    assert "in this call" in found[4]
    assert (await user.client.get(f"/api/v1/files/{found[0]}/content")).content == b"\x89PNG one"
    assert (await user.client.get("/api/v1/files/0f6c1b2e-two/content")).content == b"two"
    with pytest.raises(OuiError, match="already"):
        await ask(
            live, user, "files.insert_new_file", user.id, {"id": found[0], "filename": "x", "data": {"content": "x"}}
        )


async def test_who_may_not_upload_does_not_by_a_plugin(live: Live, user: Actor) -> None:
    state = live.app.state.oui
    permissions = state.config["user.permissions"]
    await state.save_config({"user.permissions": permissions | {"chat": permissions["chat"] | {"file_upload": False}}})
    data = {"$bytes": base64.b64encode(b"x").decode()}
    with pytest.raises(OuiError, match="may not upload"):
        await ask(live, user, "files.upload_file_handler", None, {"$upload": {"filename": "x.txt", "data": data}})
    with pytest.raises(OuiError, match="may not upload"):
        await ask(live, user, "storage.upload_file", data, "x.txt")


async def test_settings_are_told_and_secrets_are_not(live: Live, admin: Actor, user: Actor) -> None:
    body = """
app = __request__.app
return [await Config.get("ui.name"), await Config.get("openai.api_keys"), await Config.get("tool_server.connections"),
        Config.get("nothing", "default"), app.state.config.ENABLE_FOLDERS, app.state.config.OPENAI_API_KEYS,
        app.state.secret, app.url_path_for("get_file_content_by_id", id="a/b"), sorted(app.state.MODELS)[:1]]
"""
    for actor in (user, admin):
        told = await run(live, actor, body)
        assert told[:8] == [
            "oui-backend", None, None, "default", True, None, None, "/api/v1/files/a%2Fb/content",
        ]  # fmt: skip
    with pytest.raises(OuiError, match="not told"):
        await ask(live, user, "request.url_path_for", "admin_reset")


COMPLETE = """
form = {"model": "fixed", "messages": [{"role": "user", "content": "Hi"}], "stream": given["stream"], "metadata": {"a": 1}}
response = await generate_chat_completion(__request__, form, user=__user__, bypass_filter=True)
if not given["stream"]:
    return response["choices"][0]["message"]["content"]
said = ""
async for line in response.body_iterator:
    text = line.decode().strip().removeprefix("data: ")
    if text != "[DONE]":
        said += "".join(choice["delta"].get("content") or "" for choice in json.loads(text)["choices"])
return said
"""


async def test_models_are_asked_whole_and_streamed(live: Live, admin: Actor, upstream: Upstream) -> None:
    whole = await run(live, admin, COMPLETE, stream=False)
    assert whole
    assert await run(live, admin, COMPLETE, stream=True) == whole
    assert [chat.body.get("metadata") for chat in upstream.chats] == [None, None]
    assert [row.user_id for row in await used(live, 2)] == [admin.id, admin.id]


async def test_an_answer_that_nobody_hears_to_its_end_is_ended(live: Live, admin: Actor, upstream: Upstream) -> None:
    body = """
form = {"model": "gated", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
response = await generate_chat_completion(__request__, form, user=__user__)
async for line in response.body_iterator:
    return line.decode()[:5]
"""
    upstream.release(1)
    assert await run(live, admin, body) == "data:"
    (row,) = await used(live, 1)
    assert row.status == 499


async def test_a_model_that_the_person_may_not_use(live: Live, user: Actor) -> None:
    for stream in (False, True):
        with pytest.raises(PluginFailed, match="Model not found"):
            await run(live, user, COMPLETE, stream=stream)


async def test_what_is_set_of_plugins(live: Live, admin: Actor, user: Actor) -> None:
    text = "from pydantic import BaseModel\nclass Filter:\n  class Valves(BaseModel):\n    key: str = ''\n"
    text += "  class UserValves(BaseModel):\n    mood: str = ''\n  def inlet(self, body): return body\n"
    form = {"id": "keeper", "name": "Keeper", "content": text, "meta": {"description": ""}}
    functions = "/api/v1/functions"
    assert (await admin.client.post(f"{functions}/create", json=form)).status_code == 200
    await admin.client.post(f"{functions}/id/keeper/toggle")
    await admin.client.post(f"{functions}/id/keeper/valves/update", json={"key": "secret"})
    assert (await ask(live, admin, "functions.get_function_valves_by_id", "keeper"))["key"] == "secret"
    assert await ask(live, user, "functions.get_function_valves_by_id", "keeper") is None
    assert "content" not in await ask(live, user, "functions.get_function_by_id", "keeper")
    with pytest.raises(OuiError):
        await ask(live, user, "functions.update_function_valves_by_id", "keeper", {"key": "other"})
    own = "functions.update_user_valves_by_id_and_user_id"
    assert await ask(live, user, own, "keeper", user.id, {"mood": "calm"}) == {"mood": "calm"}
    with pytest.raises(OuiError):
        await ask(live, user, own, "keeper", admin.id, {"mood": "cross"})
    read = "functions.get_user_valves_by_id_and_user_id"
    assert (await ask(live, user, read, "keeper", user.id))["mood"] == "calm"
    assert await ask(live, admin, read, "keeper", user.id) is None
    # A function knows its own; a tool of the same name does not.
    answer = answering(live.app.state.oui, await live.app.state.oui.identify(user.token))
    for kind, known in (("function", True), ("tool", False)):
        given = await answer(
            Call("keeper", "inlet", {}, kind), "functions.get_function_valves_by_id", {"args": ["keeper"]}
        )
        assert (given == {"key": "secret"}) is known


async def test_places_of_other_people_are_not_there(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    folder = (await other.client.post("/api/v1/folders/", json={"name": "Theirs"})).json()
    group = (await admin.client.post("/api/v1/groups/create", json={"name": "G", "description": ""})).json()
    assert await ask(live, other, "folders.get_folder_by_id_and_user_id", folder["id"], other.id)
    assert await ask(live, user, "folders.get_folder_by_id_and_user_id", folder["id"], other.id) is None
    assert await ask(live, user, "folders.get_folder_by_id_and_user_id", folder["id"], user.id) is None
    assert await ask(live, user, "folders.get_folders_by_user_id", other.id) == []
    assert [one["name"] for one in await ask(live, other, "folders.get_folders_by_user_id", other.id)] == ["Theirs"]
    assert await ask(live, user, "groups.get_group_by_id", group["id"]) is None
    assert await ask(live, user, "groups.get_groups") == []
    assert [one["id"] for one in await ask(live, admin, "groups.get_groups")] == [group["id"]]
    assert await ask(live, user, "knowledge.get_knowledge_by_id", "nothing") is None
    assert await ask(live, user, "knowledge.get_knowledge_bases_by_user_id", user.id) == []
    assert await ask(live, user, "models.get_model_by_id", "nothing") is None
    assert await ask(live, user, "tools.get_tools_by_user_id", user.id) == []
    assert await ask(live, user, "memories.get_memories_by_user_id", user.id) == []
    assert await ask(live, user, "skills.get_skill_by_id", "s") is None


async def test_prompts_that_one_may_use(live: Live, admin: Actor, user: Actor) -> None:
    form = {"command": "s", "name": "S", "content": "Sum up", "access_grants": []}
    await admin.client.post("/api/v1/prompts/create", json=form)
    for name, args in (
        ("get_prompts", ()),
        ("get_prompts_by_user_id", (user.id,)),
        ("get_prompts_by_user_id", (admin.id,)),
    ):
        assert await ask(live, user, f"prompts.{name}", *args) == []
    assert await ask(live, user, "prompts.get_prompt_by_command", "s") is None
    assert [one["command"] for one in await ask(live, admin, "prompts.get_prompts")] == ["s"]
    assert [one["command"] for one in await ask(live, admin, "prompts.get_prompts_by_user_id", admin.id, "write")] == [
        "s"
    ]
    for command in ("s", "/s"):
        assert (await ask(live, admin, "prompts.get_prompt_by_command", command))["content"] == "Sum up"


async def test_memories_are_of_the_one_who_asks(live: Live, user: Actor, other: Actor) -> None:
    body = """
from open_webui.routers.memories import add_memory, query_memory, AddMemoryForm, QueryMemoryForm
made = await add_memory(__request__, AddMemoryForm(content="Likes green tea"), __user__)
await Memories.insert_new_memory(__user__["id"], "Has a cat")
found = await query_memory(__request__, QueryMemoryForm(content="green tea", k=1), __user__)
await Memories.update_memory_by_id_and_user_id(made.id, __user__["id"], "Likes black tea")
mine = await Memories.get_memories_by_user_id(__user__["id"])
gone = await Memories.delete_memory_by_id_and_user_id(made.id, __user__["id"])
return [found.documents, sorted(one.content for one in mine), gone, await Memories.get_memory_by_id(made.id) is None,
        await Memories.get_memories_by_user_id(given["other"]), await Memories.get_memory_by_id(given["theirs"]),
        await Memories.update_memory_by_id_and_user_id(given["theirs"], __user__["id"], "x"),
        await Memories.insert_new_memory(given["other"], "x"),
        await Memories.delete_memory_by_id_and_user_id(given["theirs"], given["other"]), made.meta["created_by"]]
"""
    theirs = await other.client.post("/api/v1/memories/add", json={"content": "Their secret"})
    told = await run(live, user, body, other=other.id, theirs=theirs.json()["id"])
    assert told == [
        [["Likes green tea"]], ["Has a cat", "Likes black tea"], True, True, [], None, None, None, False, "plugin",
    ]  # fmt: skip
    assert [one["content"] for one in (await other.client.get("/api/v1/memories/")).json()] == ["Their secret"]


async def test_plugins_that_ask_each_other_end(live: Live, admin: Actor) -> None:
    form = {"model": "fixed", "messages": [{"role": "user", "content": "Hi"}]}
    answer = await ask(live, admin, "chat.generate_chat_completion", None, form, depth=MOST_DEEP - 1)
    assert answer["choices"]
    with pytest.raises(OuiError, match="ends here"):
        await ask(live, admin, "chat.generate_chat_completion", None, form, depth=MOST_DEEP)


NONSENSE: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("users.get_user_by_id", (5,), {}, "'id' should be a text"),
    ("users.get_user_by_id", (), {}, "'id' should be a text"),
    ("users.get_user_by_id", ("x" * 10_000,), {}, "no longer than"),
    ("users.get_user_by_id", ("a", "b"), {}, "at most 1 arguments"),
    ("users.get_user_by_id", ("a",), {"id": "b"}, "'id' twice"),
    ("users.get_user_by_id", ("a",), {"raw": True}, "takes no 'raw'"),
    ("users.get_password", ("a",), {}, "can't be asked"),
    ("chats.add_message_files_by_id_and_message_id", ("c", "m", "x"), {}, "a list of dictionaries"),
    ("users.get_users", (None, "many"), {}, "a whole number"),
    ("files.get_files_by_ids", (["a"] * 1_000,), {}, "at most 500"),
    ("files.upload_file_handler", (None, "text"), {}, "an UploadFile"),
    ("files.insert_new_file", (), {}, "'user_id' should be a text"),
    ("storage.upload_file", ("x", "name"), {}, "should be bytes"),
    ("models.update_model_by_id", ("m", {"name": 5}), {}, "'name' can't be used"),
    ("chat.generate_chat_completion", (None, "x"), {}, "'form_data' should be a dictionary"),
    ("chat.generate_chat_completion", (None, {"messages": []}), {}, "model"),
    ("retrieval.process_web_search", (None, {"queries": "x"}), {}, "'queries' can't be used"),
    ("memories.add_memory", (None, {"content": " "}), {}, "needs a text"),
    ("memories.add_memory", (None, {}), {}, "'content' can't be used"),
    ("memories.update_memory_by_id", ("m", None, {"type": "odd"}), {}, "'type' can't be used"),
    ("memories.query_memory", (None, {"content": "x", "k": 0}), {}, "'k' can't be used"),
    ("images.image_generations", (), {}, "'form_data' should be"),
    ("images.image_generations", (None, {"prompt": "x"}), {}, "not made on this server"),
    ("images.image_edits", (None, {"prompt": "x", "image": "y"}), {}, "not changed on this server"),
]


async def test_what_makes_no_sense_is_answered_with_a_sentence(live: Live, admin: Actor) -> None:
    for name, args, kwargs, sentence in NONSENSE:
        with pytest.raises(OuiError, match=sentence):
            await ask(live, admin, name, *args, **kwargs)
    # What no database takes is not there.
    assert await ask(live, admin, "users.get_user_by_id", "a\x00") is None
    assert await ask(live, admin, "chats.get_chat_by_id", "a\x00") is None


LOOP = """
from open_webui.utils.chat import generate_chat_completion
class Pipe:
    async def pipe(self, body, __user__, __request__):
        form = {"model": "loop", "messages": body["messages"], "stream": bool(body.get("stream"))}
        response = await generate_chat_completion(__request__, form, user=__user__)
        return response.body_iterator if form["stream"] else response["choices"][0]["message"]["content"]
"""


async def test_a_pipe_that_asks_itself_ends(make_live: Callable[..., Awaitable[Live]], connections: None) -> None:
    live = await make_live(bypass_model_access_control=True)
    admin = await sign_up(live, "Admin One")
    async with admin.client as client:
        form = {"id": "loop", "name": "Loop", "content": LOOP, "meta": {"description": ""}}
        assert (await client.post("/api/v1/functions/create", json=form)).status_code == 200
        await client.post("/api/v1/functions/id/loop/toggle")

        async def is_listed() -> bool:
            return live.app.state.oui.catalogue.snapshot.find("loop") is not None

        await until(is_listed)
        for stream in (False, True):
            body = {"model": "loop", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
            assert "It ends here" in (await client.post("/api/chat/completions", json=body)).text


async def test_questions_know_nothing_of_who_started_the_process(live: Live, admin: Actor) -> None:
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")
    source = tool("async def run(self, __event_emitter__=None):\n    return await __event_emitter__({})", name="echo")

    async def answer(_call: Call, _name: str, _arguments: dict[str, Any]) -> str:
        return whose.get()

    whose.set("the first one's")
    assert await live.app.state.oui.plugins.call(source, "run", {}, context={}, answer=answer) == "nobody's"
