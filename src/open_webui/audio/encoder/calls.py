"""What the process is asked, with nothing heavy in it."""

import msgspec


class Portion(msgspec.Struct, frozen=True, kw_only=True):
    """Some samples of a stream of them: 16 bits, one channel, `rate` of them a second.

    stream: its number. form: mp3, opus, flac, aac or pcm. is_first, is_last: whether the stream begins and ends with it. The
    answer is the bytes of the format that are there by now; in the end, all that are left.
    """

    stream: int
    form: str
    rate: int
    samples: bytes
    is_first: bool = False
    is_last: bool = False
