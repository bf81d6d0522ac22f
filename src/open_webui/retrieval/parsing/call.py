"""What the server asks of the child process that reads files."""

from typing import Final

import msgspec

# The file of a call's folder that is read. What the process writes while it reads, it writes beside it.
CONTENT: Final = "content"
# The kind of a call that asks where the tokens of a text end.
TOKENS: Final = "tokens"
# What the process says where it lacks the extra.
MISSING: Final = "extra"


class Call(msgspec.Struct, frozen=True):
    """What is read: its kind (see `kinds`), its name for messages, the folder where it lies, and what that may take.

    pictures: whether text in the pictures of a PDF is read. tokenizer: the file for `TOKENS`.
    memory: bytes of address space. cpu_seconds: of this call.
    """

    kind: str
    name: str
    folder: str
    pictures: bool = False
    tokenizer: str = ""
    memory: int = 4 << 30
    cpu_seconds: int = 600
