"""What plugins ask the server for: which functions of which modules, and the name that each question has.

The server's side answers a question `users.get_user_by_id` with arguments {"args": [...], "kwargs": {...}}; whether the
person who called the plugin may know is its decision. A method may be awaited or not: plugins are written for both.
"""

import base64
import opcode
import os
import sys
import tempfile
import types
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

from oui_sandbox.channel import Channel
from oui_sandbox.encode import BYTES
from oui_sandbox.values import Mapping, Value, wrapped

NEXT: Final = "stream.next"
STREAM: Final = "$stream"
# A file of the server's, which is put into the scratch folder.
FILE: Final = "$file"
_AWAIT: Final = opcode.opmap["GET_AWAITABLE"]
_CACHE: Final = opcode.opmap.get("CACHE", 0)

# A module, a class or "-" for the module itself, the beginning of the question's name, and the functions. Forms are classes to
# fill with values.
_TABLE: Final = """
models.users Users users get_user_by_id get_user_by_email get_users get_num_users get_first_user get_super_admin_user
models.users forms UserModel User UserResponse
models.chats Chats chats get_chat_by_id get_chat_by_id_and_user_id get_chat_title_by_id get_messages_by_chat_id
models.chats Chats chats get_messages_map_by_chat_id get_message_by_id_and_message_id get_chats_by_user_id
models.chats Chats chats add_message_files_by_id_and_message_id update_chat_by_id insert_new_chat insert_chat_files
models.chats Chats chats upsert_message_to_chat_by_id_and_message_id add_message_status_to_chat_by_id_and_message_id
models.chats Chats chats get_chat_list_by_user_id get_chats_by_folder_id_and_user_id update_chat_title_by_id
models.chats Chats chats add_chat_tag_by_id_and_user_id_and_tag_name get_chat_tags_by_id_and_user_id
models.chats Chats chats update_chat_folder_id_by_id_and_user_id
models.chats forms ChatModel ChatForm
models.files Files files get_file_by_id get_files get_files_by_ids get_files_by_user_id insert_new_file
models.files Files files get_file_metadata_by_id update_file_metadata_by_id update_file_data_by_id delete_file_by_id
models.files forms FileForm FileModel
models.models Models models get_model_by_id get_all_models get_models get_base_models update_model_by_id
models.models forms ModelForm ModelModel ModelMeta ModelParams
models.functions Functions functions get_function_by_id get_functions get_functions_by_type get_function_valves_by_id
models.functions Functions functions update_function_valves_by_id get_user_valves_by_id_and_user_id
models.functions Functions functions update_user_valves_by_id_and_user_id
models.tools Tools tools get_tool_by_id get_tools get_tools_by_user_id get_tool_valves_by_id update_tool_valves_by_id
models.tools Tools tools get_user_valves_by_id_and_user_id update_user_valves_by_id_and_user_id
models.knowledge Knowledges knowledge get_knowledge_by_id get_knowledge_bases get_knowledge_bases_by_user_id
models.folders Folders folders get_folder_by_id_and_user_id get_folders_by_user_id
models.memories Memories memories get_memories_by_user_id insert_new_memory update_memory_by_id_and_user_id
models.memories Memories memories delete_memory_by_id_and_user_id get_memory_by_id
models.groups Groups groups get_groups_by_member_id get_group_by_id get_groups
models.skills Skills skills get_skill_by_id get_skills get_skills_by_user_id get_skill_by_name
models.prompts Prompts prompts get_prompt_by_command get_prompts get_prompts_by_user_id
models.config Config config get
utils.chat - chat generate_chat_completion
main - chat generate_chat_completions chat_completion
routers.files - files upload_file_handler upload_file get_file_content_by_id
routers.memories - memories add_memory query_memory get_memories delete_memory_by_id update_memory_by_id
routers.memories forms AddMemoryForm QueryMemoryForm MemoryUpdateModel
routers.images - images image_generations image_edits
routers.images forms GenerateImageForm CreateImageForm
routers.retrieval - retrieval process_file process_web_search
routers.retrieval forms ProcessFileForm SearchForm
storage.provider Storage storage upload_file get_file
"""
# What answers as it is, without attributes.
_AS_IT_IS: Final = frozenset({"chat", "retrieval", "config", "storage"})
# What is a dictionary, and not an object with attributes.
_DICTIONARIES: Final = frozenset(
    (
        "chats.get_messages_map_by_chat_id chats.get_message_by_id_and_message_id"
        " functions.get_function_valves_by_id functions.get_user_valves_by_id_and_user_id tools.get_tool_valves_by_id"
        " tools.get_user_valves_by_id_and_user_id users.get_users"
    ).split()
)
# Coroutines whatever the caller does with them.
_ALWAYS_AWAITED: Final = frozenset({"chat", "images", "retrieval"})


def _modules() -> dict[str, dict[str, tuple[str, list[str]]]]:
    """By module and class, the beginning of its questions' names and its functions. A form has neither."""
    modules: dict[str, dict[str, tuple[str, list[str]]]] = {}
    for line in _TABLE.strip().splitlines():
        module, name, *rest = line.split()
        names = modules.setdefault(module, {})
        if name == "forms":
            names.update({form: ("", []) for form in rest})
        else:
            names.setdefault(name, (rest[0], []))[1].extend(rest[1:])
    return modules


MODULES: Final = _modules()


class _Wire:
    """Who is asked."""

    channel: Channel | None = None


class Stream:
    """An answer in parts, with the one attribute that plugins use of a streaming response."""

    def __init__(self, token: int) -> None:
        self.status_code = 200
        self.headers: dict[str, str] = {}
        self.media_type = "text/event-stream"
        self.body_iterator = self._parts(token)

    async def _parts(self, token: int) -> AsyncIterator[Any]:
        while (parts := await _channel().ask(NEXT, {"stream": token})) is not None:
            for part in parts:
                yield part.encode() if isinstance(part, str) else part


def connect(channel: Channel) -> None:
    """Who is asked from here on."""
    _Wire.channel = channel


def fill(module: types.ModuleType, own: str) -> None:
    """Puts the names of a module into it."""
    for name, (prefix, methods) in MODULES.get(own, {}).items():
        functions = {method: _function(prefix, method) for method in methods}
        if name == "-":
            module.__dict__.update(functions)
        elif not prefix:
            module.__dict__[name] = type(name, (Value,), {"__module__": module.__name__})
        else:
            module.__dict__[name] = _Table(f"{module.__name__}.{name}", functions)


class _Table:
    """What stands for a class whose methods ask."""

    def __init__(self, name: str, functions: dict[str, Callable[..., Any]]) -> None:
        self.__dict__.update(functions)
        self._name = name

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name} of {self._name} is not there for plugins of this server.")


def _function(prefix: str, method: str) -> Callable[..., Any]:
    question = f"{prefix}.{method}"

    async def ask(arguments: dict[str, Any]) -> Any:
        return _answer(question, await _channel().ask(question, arguments))

    def call(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any] | Any:
        arguments = {"args": [_sent(arg) for arg in args], "kwargs": {k: _sent(v) for k, v in kwargs.items()}}
        if prefix in _ALWAYS_AWAITED or _is_awaited():
            return ask(arguments)
        return _answer(question, _channel().ask_now(question, arguments))

    call.__name__ = call.__qualname__ = method
    return call


def _sent(value: Any) -> Any:
    """An argument as the server gets it: it knows the request, and has its own session of the database."""
    if isinstance(value, Value):
        return value.model_dump()
    return None if type(value).__module__ == "oui_sandbox.context" else value


def _answer(question: str, value: Any) -> Any:
    if isinstance(value, dict) and STREAM in value:
        return Stream(value[STREAM])
    value = _read(value)
    if question in _DICTIONARIES and isinstance(value, dict):
        return Mapping({name: wrapped(entry) if isinstance(entry, list) else entry for name, entry in value.items()})
    return value if question.partition(".")[0] in _AS_IT_IS else wrapped(value)


def _read(value: Any) -> Any:
    """The answer with bytes and files, where it is or has some."""
    if isinstance(value, list):
        return [_read(entry) if isinstance(entry, dict) else entry for entry in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {BYTES}:
        return base64.b64decode(value[BYTES])
    if value.keys() == {FILE}:
        return _put(value[FILE])
    if isinstance(body := value.get("body"), dict):
        return value | {"body": _read(body)}
    return value


def _put(file: dict[str, Any]) -> str:
    """Puts a file into a folder of the scratch folder, under its own name. Its path."""
    path = os.path.join(tempfile.mkdtemp(), os.path.basename(str(file["name"])) or "file")  # noqa: PTH118, PTH119
    with open(path, "wb") as opened:  # noqa: PTH123 - plugins import this: pathlib costs memory in each process
        opened.write(base64.b64decode(file["data"]))
    return path


def _is_awaited() -> bool:
    """Whether `await` is what the caller does next with what it gets."""
    frame = sys._getframe(2)  # noqa: SLF001 - there is no other way to know
    code = frame.f_code.co_code
    at = frame.f_lasti + 2
    while at < len(code) and code[at] == _CACHE:
        at += 2
    return at < len(code) and code[at] == _AWAIT


def _channel() -> Channel:
    if _Wire.channel is None:
        raise RuntimeError("There is no server to ask.")
    return _Wire.channel
