"""Tools that every model may call without anybody having made them: the clock, one's chats, knowledge, files and the web."""
