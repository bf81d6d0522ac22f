"""Durable work in the background: a queue in the database, and what runs what is due.

`kinds.py` says what a kind of job is and what its handler is given, `queue.py` puts jobs in, cancels and retries them,
`runner.py` runs them in this process. Each kind is declared beside what it does.
"""
