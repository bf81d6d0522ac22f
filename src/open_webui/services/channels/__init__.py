"""Channels: kept and opened to people, with their messages, webhooks, and what is told of all that."""
