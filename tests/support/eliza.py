"""What the built-in model says to a few things, for tests that need an answer and not its wording."""

from typing import Final

NAME: Final = "I am Eliza, a small program without a language model, here until a model is connected."
# To "I am sad", while it has not said yet what it is.
SAD: Final = f"That sounds hard. What weighs on you most?\n\n{NAME}"
OPENING: Final = f"Hello. What is on your mind? {NAME}"
# The same as it is streamed, and as lines of a terminal.
SAD_WORDS: Final = [*(f"{word} " for word in SAD.split(" ")[:-1]), SAD.split(" ")[-1]]
SAD_LINES: Final = SAD.split("\n")
