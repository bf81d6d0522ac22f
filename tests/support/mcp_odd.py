"""An MCP server over stdio that does odd things with lists, resources and prompts; written by hand, it is up in no time.

The first argument says which: `endless` lists have no last page, `circling` ones lead back to their first, `hanging` ones
never come, `large` is a resource of 100 MB, `wrong` things are not as the protocol has them, `bare` has tools alone, `fine`
is in order.
"""

import base64
import itertools
import json
import struct
import sys
import zlib
from typing import Any

HTML = "<h1>Hello</h1><script>alert(1)</script>"


def _png() -> str:
    """A picture of 32 points square that is large enough to be kept as a file."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 32, 32, 8, 0, 0, 0, 0)
    lines = b"".join(b"\0" + bytes(x * y % 256 for x in range(32)) for y in range(32))
    parts = part(b"IHDR", head) + part(b"IDAT", zlib.compress(lines, 0)) + part(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()


PNG = _png()
_pages = itertools.count(1)
LISTS = {
    "resources/list": ("resources", {"uri": "odd://thing/{n}", "name": "Thing {n}"}),
    "resources/templates/list": ("resourceTemplates", {"uriTemplate": "odd://made/{n}/{id}", "name": "Made {n}"}),
    "prompts/list": ("prompts", {"name": "prompt-{n}"}),
}
FINE: dict[str, list[dict[str, Any]]] = {
    "resources": [
        {"uri": "odd://page", "name": "page.html", "mimeType": "text/html", "size": len(HTML)},
        {"uri": "odd://picture.png", "name": "picture.png", "mimeType": "image/png"},
        {"uri": "odd://nothing", "name": "nothing"},
        {"uri": "odd://long", "name": "long", "description": "x" * 5_000},
        {"uri": "odd://" + "y" * 5_000, "name": "an address without an end"},
    ],
    "resourceTemplates": [{"uriTemplate": "odd://made/{id}{?page}", "name": "made", "description": "Made for an id"}],
    "prompts": [
        {
            "name": "several",
            "description": "Several speak",
            "arguments": [{"name": "who", "required": True}, {"name": "how"}],
        },
        {"name": "pictured"},
        {"name": "long"},
        {"name": "empty"},
    ],
}


def say(**message: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0"} | message), flush=True)  # noqa: T201


def filled(item: dict[str, str], number: int) -> dict[str, str]:
    return {key: text.replace("{n}", str(number)) for key, text in item.items()}


def listed(kind: str, method: str) -> dict[str, Any]:
    member, item = LISTS[method]
    match kind:
        case "endless":
            number = next(_pages)
            return {member: [filled(item, number)], "nextCursor": str(number)}
        case "circling":
            return {member: [filled(item, 1)], "nextCursor": "again"}
        case "wrong":
            return {member: [{"name": 5}, "no thing"], "nextCursor": ["no cursor"]}
    return {member: FINE[member]}


def contents(kind: str, uri: str) -> dict[str, Any]:
    match uri:
        case "odd://page":
            return {"uri": uri, "mimeType": "text/html", "text": HTML}
        case "odd://picture.png":
            return {"uri": uri, "mimeType": "image/png", "blob": PNG}
        case "odd://nothing":
            return {"uri": uri, "text": ""}
        case "odd://blob":
            return {"uri": uri, "mimeType": "application/pdf", "blob": "%%%"}
        case "odd://long":
            return {"uri": uri, "text": "word " * 300_000}
    return {"uri": uri, "text": "x" * 100_000_000 if kind == "large" else f"This is {uri}."}


def prompt(name: str, arguments: dict[str, str]) -> list[dict[str, Any]]:
    def text(role: str, said: str) -> dict[str, Any]:
        return {"role": role, "content": {"type": "text", "text": said}}

    match name:
        case "several":
            return [
                text("user", f"I am {arguments['who']}."),
                text("assistant", "Welcome."),
                text("user", arguments.get("how", "-")),
            ]
        case "pictured":
            picture = {"type": "image", "mimeType": "image/png", "data": PNG}
            page = {"type": "resource", "resource": {"uri": "odd://page", "mimeType": "text/html", "text": HTML}}
            return [{"role": "user", "content": one} for one in (picture, page)] + [text("user", "Look.")]
        case "long":
            return [text("user", "word " * 100_000)]
    return []


def answer(kind: str, method: str, params: dict[str, Any]) -> dict[str, Any] | None:  # noqa: PLR0911 -- one for each method
    match method:
        case "initialize":
            has: dict[str, Any] = {"tools": {}} | (
                {} if kind == "bare" else {"resources": {}, "prompts": {}, "completions": {}}
            )
            about = {"name": kind, "version": "1"}
            return {"protocolVersion": "2025-11-25", "capabilities": has, "serverInfo": about}
        case _ if kind == "bare" and not method.startswith("tools/"):
            return None
        case "tools/list":
            return {"tools": [{"name": "nothing", "inputSchema": {"type": "object"}}]}
        case "tools/call":
            return {"content": [{"type": "text", "text": "Nothing was done."}]}
        case "resources/list" | "resources/templates/list" | "prompts/list":
            return listed(kind, method)
        case "resources/read" if kind == "wrong":
            return {"contents": "none"}
        case "resources/read":
            return {"contents": [contents(kind, params["uri"])]}
        case "prompts/get":
            return {"messages": prompt(params["name"], params.get("arguments") or {})}
        case "completion/complete" if kind == "wrong":
            return {"completion": 5}
        case "completion/complete":
            begun = params["argument"]["value"]
            return {"completion": {"values": [f"{begun}{n}" for n in range(100)], "hasMore": True}}
    return None


if __name__ == "__main__":
    for line in sys.stdin:
        given = json.loads(line)
        asked, kind = str(given.get("method")), sys.argv[1]
        if "id" not in given or (kind == "hanging" and asked.endswith("/list") and asked != "tools/list"):
            continue
        result = answer(kind, asked, given.get("params", {}))
        if result is None:
            say(id=given["id"], error={"code": -32601, "message": "There is no such method."})
        else:
            say(id=given["id"], result=result)
