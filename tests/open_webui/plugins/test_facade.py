"""What plugins import of Open WebUI: helpers that are there, and functions that ask the server."""

from typing import Any

import pytest

from open_webui.errors import Forbidden
from open_webui.plugins.host import Call, PluginFailed, PluginHost
from tests.support.plugins import function, tool

pytestmark = pytest.mark.asyncio(loop_scope="module")
USERS = {"u1": {"id": "u1", "name": "Ann", "settings": {"ui": {}}}}


class Server:
    """Answers as the server would."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, _: Call, name: str, arguments: dict[str, Any]) -> Any:
        self.asked.append((name, arguments))
        match name:
            case "users.get_user_by_id":
                return USERS.get(arguments["args"][0])
            case "users.get_users":
                return list(USERS.values())
            case "chat.generate_chat_completion":
                form = arguments["args"][1]
                if not form.get("stream"):
                    return {"choices": [{"message": {"content": "whole"}}]}
                return self.parts()
            case "files.insert_new_file":
                return {"id": "f", **arguments["args"][1]}
            case "request.url_path_for":
                return "/api/v1/files/f/content"
            case "request.state":
                return {"m": {"id": "m"}} if arguments["name"] == "MODELS" else None
        raise Forbidden

    async def parts(self) -> Any:
        for part in ("data: a\n\n", "data: [DONE]\n\n"):
            yield part


async def test_a_question_may_be_awaited_or_not(host: PluginHost) -> None:
    source = tool(
        """
        async def awaited(self):
            return (await Users.get_user_by_id("u1")).name
        async def plain(self):
            user = Users.get_user_by_id("u1")
            return [user.name, user["name"], user.model_dump()["id"], (await user).name]
        async def absent(self):
            return [Users.get_user_by_id("x") is None, await Users.get_user_by_id("x")]
        async def gathered(self):
            users = await asyncio.gather(Users.get_user_by_id("u1"), Users.get_user_by_id("u1"))
            return [user.name for user in users]
        async def in_thread(self):
            return (await asyncio.to_thread(Users.get_user_by_id, "u1")).name
        async def either(self):
            import inspect
            user = Users.get_user_by_id("u1")
            if inspect.isawaitable(user):
                user = await user
            return user.name
        async def listed(self):
            return [[user.name for user in await Users.get_users()], [user.name for user in Users.get_users()]]
        def sync(self):
            return Users.get_user_by_id("u1").name
        async def in_a_thread_of_its_own(self):
            import threading
            found = []
            thread = threading.Thread(target=lambda: found.append(Users.get_user_by_id("u1").name))
            thread.start()
            while thread.is_alive(): await asyncio.sleep(0.01)
            return found
        """,
        head="from open_webui.models.users import Users",
    )
    server = Server()
    expected = {
        "awaited": "Ann", "plain": ["Ann", "Ann", "u1", "Ann"], "absent": [True, None], "gathered": ["Ann", "Ann"],
        "in_thread": "Ann", "either": "Ann", "listed": [["Ann"], ["Ann"]], "sync": "Ann", "in_a_thread_of_its_own": ["Ann"],
    }  # fmt: skip
    for method, value in expected.items():
        assert await host.call(source, method, {}, answer=server) == value, method


async def test_other_calls_go_on_while_one_waits_without_awaiting(host: PluginHost) -> None:
    source = tool(
        """
        async def run(self):
            task = asyncio.create_task(self.other())
            await asyncio.sleep(0)
            first = Users.get_user_by_id("u1").name
            return [first, await task]
        async def other(self):
            return (await Users.get_user_by_id("u1")).name
        """,
        head="from open_webui.models.users import Users",
    )
    assert await host.call(source, "run", {}, answer=Server()) == ["Ann", "Ann"]


async def test_a_model_is_asked_whole_and_in_parts(host: PluginHost) -> None:
    source = function(
        """
        from open_webui.utils.chat import generate_chat_completion
        from open_webui.models.users import Users
        class Pipe:
            async def pipe(self, body, __user__, __request__):
                user = Users.get_user_by_id(__user__["id"])
                if not body["stream"]:
                    answer = await generate_chat_completion(__request__, body, user)
                    return answer["choices"][0]["message"]["content"]
                return await generate_chat_completion(__request__, form_data=body, user=user)
        """
    )
    server = Server()
    context = {"user": {"id": "u1"}, "request": {}}
    assert await host.call(source, "pipe", {"body": {"stream": False}}, context=context, answer=server) == "whole"
    # The request stays where it is; the person is told by the id.
    assert server.asked[-1][1]["args"][0] is None
    assert server.asked[-1][1]["args"][2]["id"] == "u1"


async def test_a_streamed_answer_is_handed_on(host: PluginHost) -> None:
    source = function(
        """
        from open_webui.utils.chat import generate_chat_completion
        class Pipe:
            async def pipe(self, body, __request__):
                response = await generate_chat_completion(__request__, body, None)
                async for part in response.body_iterator:
                    yield part.decode().upper()
        """
    )
    parts = [p async for p in host.stream(source, "pipe", {"body": {"stream": True}}, answer=Server())]
    assert parts == ["DATA: A\n\n", "DATA: [DONE]\n\n"]


async def test_forms_are_filled_and_sent(host: PluginHost) -> None:
    source = tool(
        """
        async def run(self):
            file = await Files.insert_new_file("u1", FileForm(id="f", filename="a.txt", meta={"size": 1}))
            return [file.id, file.filename, file.meta["size"]]
        """,
        head="from open_webui.models.files import Files, FileForm",
    )
    assert await host.call(source, "run", {}, answer=Server()) == ["f", "a.txt", 1]


async def test_a_refusal_is_raised(host: PluginHost) -> None:
    source = tool("def run(self):\n    return Users.get_num_users()", head="from open_webui.models.users import Users")
    with pytest.raises(PluginFailed, match=Forbidden.detail.split(".", maxsplit=1)[0]):
        await host.call(source, "run", {}, answer=Server())


async def test_the_request_answers_what_plugins_ask_it(host: PluginHost) -> None:
    source = tool(
        """
        async def run(self, __request__):
            return [__request__.app.url_path_for("get_file", id="f"), __request__.app.state.MODELS["m"]["id"],
                    str(__request__.base_url), __request__.state.user.name]
        """
    )
    context = {"user": {"name": "Ann"}, "request": {"base_url": "http://x/"}}
    assert await host.call(source, "run", {}, context=context, answer=Server()) == [
        "/api/v1/files/f/content",
        "m",
        "http://x/",
        "Ann",
    ]


async def test_helpers_about_messages(host: PluginHost) -> None:
    source = tool(
        """
        def run(self):
            messages = [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "q"}]}]
            system, rest = pop_system_message(messages)
            return [get_last_user_message(messages), system["content"], len(rest), TASKS.DEFAULT == "default", str(TASKS.DEFAULT),
                    SRC_LOG_LEVELS["MAIN"], add_or_update_system_message("a", rest)[0]["content"],
                    openai_chat_chunk_message_template("m", "x")["choices"][0]["delta"]["content"]]
        """,
        head="""
        from open_webui.utils.misc import (get_last_user_message, pop_system_message, add_or_update_system_message,
                                           openai_chat_chunk_message_template)
        from open_webui.constants import TASKS
        from open_webui.env import SRC_LOG_LEVELS
        from open_webui.config import UPLOAD_DIR
        """,
    )
    assert await host.call(source, "run", {}) == ["q", "s", 1, True, "default", "INFO", "a", "x"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("import open_webui.internal.db", "open_webui.internal is not there for plugins of this server"),
        ("from open_webui.utils.misc import nothing", "nothing of open_webui.utils.misc is not there"),
        (
            "from open_webui.models.users import Users; Users.delete_user_by_id('x')",
            "delete_user_by_id of open_webui.models.users.Users",
        ),
    ],
)
async def test_what_is_not_there_is_a_sentence(host: PluginHost, line: str, sentence: str) -> None:
    with pytest.raises(PluginFailed, match=sentence):
        await host.load(tool("pass", head=line))
