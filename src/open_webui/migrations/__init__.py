"""The schema's one line of history (Alembic), and what runs it.

Alembic is imported only when there is something to do: a start on a current schema reads one row and goes on.
"""

# The newest revision in versions/; a test holds the two together.
HEAD = "0006"
