"""MCP clients whose messages reach one process after the other: each answers alike, and a call is cancelled where it runs."""

import json
from types import SimpleNamespace

from tests.open_webui.tools.test_mcp_endpoint import HEADERS, STEPS, ask, post
from tests.support.live import Actor, Live


async def test_messages_of_one_client_reach_several_processes(live: Live, admin: Actor, there: SimpleNamespace) -> None:
    await live.app.state.oui.save_config({"mcp.server.enable": True})
    form = {"id": "steps", "name": "Steps", "content": STEPS, "meta": {"description": ""}}
    assert (await admin.client.post("/api/v1/tools/create", json=form)).status_code == 200
    about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    begun = await post(admin, {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": about})
    session = {"mcp_session_id": begun.headers["mcp-session-id"]}
    listed = [(await ask(actor, "tools/list"))["result"]["tools"] for actor in (admin, there.admin)]
    assert listed[0] == listed[1]
    assert "endless" in {tool["name"] for tool in listed[0]}
    params = {"name": "endless", "arguments": {}, "_meta": {"progressToken": 1}}
    call = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).encode()
    headers = HEADERS | {"mcp-session-id": session["mcp_session_id"]}
    async with admin.client.stream("POST", "/mcp", content=call, headers=headers) as reply:
        lines = reply.aiter_lines()
        await anext(lines)
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
        assert (await post(there.admin, cancelled, **session)).status_code == 202
        told = [json.loads(line.removeprefix("data: ")) async for line in lines if line.startswith("data: ")]
    assert told[-1]["error"]["code"] == -32800
