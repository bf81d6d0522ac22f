"""The schema's one line of history (Alembic), and what runs it.

A start on a current schema reads one row and goes on. Else Alembic is imported by a child process of the server.
"""

# The newest revision in versions/; a test holds the two together.
HEAD = "0032"
