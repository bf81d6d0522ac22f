"""How many answers may be written at once, and what is said to who asks for one more, or for one in the place of another."""

from typing import Final

from open_webui.errors import Conflict, TooManyRequests

# Answers of a process in all, so that a loop in somebody's script can't fill the memory.
MAX_RUNNING: Final = 2_000
# Of one person; of all processes that share a PostgreSQL database.
MAX_RUNNING_PER_USER: Final = 200


def too_many() -> TooManyRequests:
    return TooManyRequests(
        f"You have {MAX_RUNNING_PER_USER} answers being written, which is the most at once. Wait for one to end."
    )


def taken() -> Conflict:
    return Conflict("This answer is being written already. Stop it first.")
