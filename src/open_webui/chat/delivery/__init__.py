"""Where an answer goes: to the caller's response (sse), to everybody who watches (sender)."""
