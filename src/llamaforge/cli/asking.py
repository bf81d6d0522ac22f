"""What a question is made of: its model, texts, pictures, tools and the form of its answer."""

from __future__ import annotations

import base64
import importlib
import io
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from llamaforge import terminal
from llamaforge.cli.state import known_as
from llamaforge.exceptions import ModelNotFoundError, ParameterError
from llamaforge.model import expanded

if TYPE_CHECKING:
    from llamaforge.forge import LlamaForge
    from llamaforge.tools import Tool

_PICTURES = {
    b"\x89PNG\r\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}
_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array"}
_FIELD = re.compile(r"(\w+)(?:\s+(\w+))?(?:\s*:\s*(.+))?")


def addressed(forge: LlamaForge, model: str | None, words: Sequence[str]) -> tuple[str | None, str | None]:
    """The model and the prompt that are meant by words: MODEL, PROMPT or both, and None for what is left out.

    A single word is the model if there is one of that name. Raises ModelNotFoundError where the first of several is none.
    """
    if model is not None or not words:
        return model and known_as(forge.config, model), " ".join(words) or None
    name = known_as(forge.config, words[0])
    if name == "eliza" or forge.get_model(name) is not None or _is_model_file(name):
        return name, " ".join(words[1:]) or None
    if len(words) > 1 or (forge.default_model is None and words[0].split() == [words[0]]):
        hint = " Quote a prompt of several words." if len(words) > 1 else ""
        try:
            forge.get_model_info(name)
        except ModelNotFoundError as error:
            raise ModelNotFoundError(f"{error}{hint}") from error
        return name, " ".join(words[1:]) or None
    return None, words[0]


def _is_model_file(name: str) -> bool:
    path = expanded(name)
    try:
        return path.suffix.lower() == ".gguf" or (path / "config.json").is_file()
    except OSError:  # a prompt that is too long for a name
        return False


def piped() -> str:
    """What comes through stdin. Raises ParameterError for what is no text."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="strict")
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise ParameterError(
            f"What comes through stdin is not text in {sys.stdin.encoding.upper()} (byte {error.start}). "
            "Convert it, for instance from Latin-1: iconv -f latin1 -t utf-8"
        ) from error


def with_files(prompt: str | None, files: Sequence[str]) -> str | None:
    """The prompt after the texts of files, each under its name; "-" is stdin. Raises ParameterError."""
    texts = []
    for file in files:
        try:
            text = piped() if file == "-" else expanded(file).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ParameterError(f"{file} is not text in UTF-8 (byte {error.start}); give a picture by -a.") from error
        except OSError as error:
            raise ParameterError(f"{file} can't be read: {error.strerror or error}.") from error
        texts.append(text if file == "-" else f"{Path(file).name}:\n\n{text}")
    return "\n\n".join([*texts, *([] if prompt is None else [prompt])]) or None


def with_pictures(prompt: str, pictures: Sequence[str]) -> str | list[dict[str, Any]]:
    """The content of a message with pictures: PNG, JPEG, GIF or WebP. Raises ParameterError."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": prompt}]
    for file in pictures:
        try:
            data = expanded(file).read_bytes()
        except OSError as error:
            raise ParameterError(f"{file} can't be read: {error.strerror or error}.") from error
        kind = next((kind for head, kind in _PICTURES.items() if data.startswith(head)), None)
        if kind is None or (kind == "image/webp" and data[8:12] != b"WEBP"):
            raise ParameterError(f"{file} is no picture: give PNG, JPEG, GIF or WebP, or a text by -f.")
        url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return parts if pictures else prompt


def schema_of(words: str) -> dict[str, Any]:
    """A JSON schema from its text, a file of it, or the short form "name, age int, tags list: what it is about".

    Raises ParameterError.
    """
    text = words.strip()
    if not text.startswith("{"):
        path = expanded(text)
        if path.suffix == ".json":
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ParameterError(f"The schema {path} can't be read: {error}.") from error
        else:
            return _short_form(text)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"The schema is not JSON: {error}.") from error
    if not isinstance(schema, dict):
        raise ParameterError("A JSON schema is an object, in braces.")
    return schema


def _short_form(text: str) -> dict[str, Any]:
    """An object of fields with commas between: a name, its type (str unless given), and after a colon what it means."""
    fields: dict[str, Any] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        match = _FIELD.fullmatch(part)
        kind = "str" if match is None else match[2] or "str"
        if match is None or kind not in _TYPES:
            raise ParameterError(
                f"'{part}' is no field of a schema: write name, or name and one of {', '.join(_TYPES)}."
            )
        fields[match[1]] = {"type": _TYPES[kind]} | ({"items": {"type": "string"}} if kind == "list" else {})
        if match[3]:
            fields[match[1]]["description"] = match[3].strip()
    if not fields:
        raise ParameterError("The schema is empty.")
    return {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}


def tools_of(forge: LlamaForge, names: Sequence[str]) -> list[Tool]:
    """The tools of these names: plugins, or functions as "module:function". Raises ParameterError, PluginError."""
    from llamaforge.tools import Tool, plugin_tools  # noqa: PLC0415 - a command loads what it needs

    found = []
    for name in names:
        module, colon, function = name.partition(":")
        if not colon:
            if (kind := forge.plugins.kind(name)) != "tools":
                raise ParameterError(f"'{name}' is no tool, but of the kind {kind}.")
            forge.enable_plugin(name)
            continue
        if "" not in sys.path:
            sys.path.insert(0, "")  # modules of the working directory, as python -m has them
        try:
            found.append(Tool.of(getattr(importlib.import_module(module), function)))
        except (ImportError, AttributeError) as error:
            raise ParameterError(f"There is no tool '{name}': {error}.") from error
    wanted = {name for name in names if ":" not in name}
    return [*(tool for tool in plugin_tools(forge) if tool.name in wanted), *found]


def question(prompt: str | None) -> str:
    """The prompt, if it is one. Raises ParameterError, and BadParameter for an empty one."""
    if prompt is None or not prompt.strip():
        raise typer.BadParameter("the prompt is empty.", param_hint="PROMPT")
    if not terminal.is_text(prompt):
        raise ParameterError("The prompt is not text in UTF-8.")
    return prompt
