"""What the process is asked, with nothing heavy in it."""

import msgspec


class Say(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence. model: the file of a voice, beside which is its description. speaker: its number, of a voice that has several.

    text: what espeak-ng turns into sounds, in the language of the voice. speed: 1 is as usual.
    """

    model: str
    text: str
    speaker: int = 0
    speed: float = 1.0


class Said(msgspec.Struct, frozen=True):
    """Samples of 16 bits, one channel; so many of them a second."""

    samples: bytes
    rate: int
