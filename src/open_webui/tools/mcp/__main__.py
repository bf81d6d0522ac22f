"""The process with the MCP sessions: reads frames from its parent, and writes frames to it."""

import asyncio
import logging
import os

import msgspec

from open_webui.internal.child.serve import end_with_parent, take_pipes
from open_webui.tools.mcp.client import Sessions
from open_webui.tools.mcp.frames import LENGTH, MAX_FRAME, FromChild, ToChild, encode

_decode = msgspec.json.Decoder(ToChild).decode


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    calls, answers = take_pipes()
    reader = asyncio.StreamReader(limit=MAX_FRAME)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), calls)
    transport, _ = await loop.connect_write_pipe(asyncio.Protocol, answers)

    def send(message: FromChild) -> None:
        transport.write(encode(message))

    sessions = Sessions(send)
    try:
        while True:
            (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            sessions.take(_decode(await reader.readexactly(size)))
    except asyncio.IncompleteReadError:
        # The parent has closed the pipe.
        await sessions.close()


if __name__ == "__main__":
    end_with_parent()
    # The library logs whole stack traces of what is told to the parent in a sentence.
    logging.disable(logging.CRITICAL)
    asyncio.run(_serve())
    os._exit(0)
