"""An MCP server over stdio with the tools and prompts that the conformance suite asks for, written by hand: up in no time.

The suite calls `test_simple_text` and so on: what stands before the first `_` is the server's id here.
"""

import json
import sys
from typing import Any

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
DIALECT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
    "additionalProperties": False,
}


def resource(uri: str, mime: str, text: str) -> dict[str, Any]:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": text}}


CAN: dict[str, Any] = {"tools": {}, "prompts": {}, "completions": {}}
TEXT = {"type": "text", "text": "This is a simple text response for testing."}
IMAGE = {"type": "image", "data": PNG, "mimeType": "image/png"}
RESULTS: dict[str, dict[str, Any]] = {
    "simple_text": {"content": [TEXT]},
    "image_content": {"content": [IMAGE]},
    "audio_content": {"content": [{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]},
    "embedded_resource": {"content": [resource("test://embedded", "text/plain", "This is embedded.")]},
    "multiple_content_types": {"content": [TEXT, IMAGE, resource("test://mixed", "application/json", "{}")]},
    "error_handling": {"isError": True, "content": [TEXT | {"text": "This tool returns an error for testing."}]},
    "tool_with_progress": {"content": [TEXT]},
    "schema_2020_12_tool": {"content": [TEXT]},
}


PROMPTS: dict[str, tuple[str, ...]] = {
    "simple_prompt": (),
    "prompt_with_arguments": ("arg1", "arg2"),
    "prompt_with_embedded_resource": ("resourceUri",),
    "prompt_with_image": (),
}


def prompt(name: str, given: dict[str, str]) -> list[dict[str, Any]]:
    match name:
        case "simple_prompt":
            contents = [TEXT | {"text": "This is a simple prompt for testing."}]
        case "prompt_with_arguments":
            contents = [TEXT | {"text": f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'"}]
        case "prompt_with_embedded_resource":
            contents = [resource(given["resourceUri"], "text/plain", "Embedded resource content for testing."), TEXT]
        case _:
            contents = [IMAGE, TEXT | {"text": "Please analyze the image above."}]
    return [{"role": "user", "content": content} for content in contents]


def say(**message: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0"} | message), flush=True)  # noqa: T201


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    match method:
        case "initialize":
            about = {"name": "conformance tools", "version": "1"}
            return {"protocolVersion": "2025-11-25", "capabilities": CAN, "serverInfo": about}
        case "tools/list":
            plain = {"type": "object", "properties": {}}
            schemas = {name: DIALECT if "schema" in name else plain for name in RESULTS}
            return {"tools": [{"name": n, "description": n, "inputSchema": s} for n, s in schemas.items()]}
        case "prompts/list":
            wanted = {name: [{"name": one, "required": True} for one in given] for name, given in PROMPTS.items()}
            return {"prompts": [{"name": name, "arguments": given} for name, given in wanted.items()]}
        case "prompts/get":
            return {"messages": prompt(params["name"], params.get("arguments") or {})}
        case "completion/complete":
            return {"completion": {"values": [f"{params['argument']['value']}1"], "hasMore": False}}
        case "tools/call":
            token = params.get("_meta", {}).get("progressToken")
            if params["name"] == "tool_with_progress" and token is not None:
                for step in (0, 50, 100):
                    told = {"progressToken": token, "progress": step, "total": 100}
                    say(method="notifications/progress", params=told)
            return RESULTS[params["name"]]
    return None


if __name__ == "__main__":
    for line in sys.stdin:
        given = json.loads(line)
        if "id" not in given:
            continue
        result = answer(given.get("method", ""), given.get("params", {}))
        if result is None:
            say(id=given["id"], error={"code": -32601, "message": "There is no such method."})
        else:
            say(id=given["id"], result=result)
