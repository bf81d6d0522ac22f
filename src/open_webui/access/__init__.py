"""Who is asking and what they may do: passwords, tokens, identification, permissions, grants, policies."""
