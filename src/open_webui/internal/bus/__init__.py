"""The bus: news and questions between the processes that serve one database.

`port.py` says what a bus promises, `memory.py` is the one of a single process. `opening.py` chooses.
"""
