"""MCP servers: sessions with them are kept in a process of their own, which alone loads the protocol's library."""
