"""The server as an MCP server: a person's own tools, documents and chats for MCP clients. routers/mcp.py has the HTTP side."""
