"""What the child process of sentence models is asked."""

import msgspec


class Call(msgspec.Struct, frozen=True, array_like=True):
    """Vectors of texts, or how well they answer a question.

    folder: where the model lies. threads: that it may use. query: the texts are questions. ranks_for: the question that the
    texts are ranked for; None: their vectors are asked for.
    """

    folder: str
    threads: int
    texts: list[str]
    query: bool = False
    ranks_for: str | None = None
