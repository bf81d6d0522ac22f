"""Two people type into one note while the server is killed: not a character is lost, and both see the same."""

import asyncio

import httpx
import pytest
import socketio

from tests.support.editor import Editor
from tests.support.live import PASSWORD
from tests.support.server import Server

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]
# Characters a second, and seconds, before and after the server is killed.
PACE, SECONDS = 10, 6


async def typed(editor: Editor, letter: str, block: int, down: asyncio.Event) -> int:
    """Types at a steady pace for a while; what can't be sent stays in the editor's document, as in a page's."""
    count = 0
    for _ in range(PACE * SECONDS):
        update = editor.typing(letter, block)
        count += 1
        if not down.is_set():
            try:
                await editor.send(update)
            except socketio.exceptions.SocketIOError:
                down.set()
        await asyncio.sleep(1 / PACE)
    return count


async def again(editor: Editor) -> Editor:
    """The same page after its connection came back: its document is the one it had."""
    back = Editor(editor.url, editor.token, editor.note_id)
    back.doc, back.root = editor.doc, editor.root
    await back.open()
    return back


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_nothing_typed_is_lost(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        form = {"name": "One", "email": "one@example.com", "password": PASSWORD}
        token = (await http.post("/api/v1/auths/signup", json=form)).json()["token"]
        http.headers["Authorization"] = f"Bearer {token}"
        made = (
            await http.post("/api/v1/notes/create", json={"title": "t", "data": {"content": {"md": "a\n\nb"}}})
        ).json()
        pair = [await Editor(server.url, token, made["id"]).open() for _ in range(2)]
        down = asyncio.Event()
        typing = [
            asyncio.create_task(typed(one, letter, n, down))
            for n, (one, letter) in enumerate(zip(pair, "xy", strict=True))
        ]
        await asyncio.sleep(SECONDS / 2)
        down.set()
        server.kill()
        counts = await asyncio.gather(*typing)
        for one in pair:
            await one.close()
        await asyncio.to_thread(server.start)
        pair = [await again(one) for one in pair]
        more = await asyncio.gather(
            *(typed(one, letter, n, asyncio.Event()) for n, (one, letter) in enumerate(zip(pair, "xy", strict=True)))
        )
        wanted = f"a{'x' * (counts[0] + more[0])}\nb{'y' * (counts[1] + more[1])}"
        for one in pair:
            await one.until(lambda e: e.text == wanted, seconds=60)
        async with asyncio.timeout(60):
            while True:
                text = (await http.get(f"/api/v1/notes/{made['id']}")).json()["data"]["content"]["md"]
                if text == wanted.replace("\n", "\n\n"):
                    break
                await asyncio.sleep(0.1)
        for one in pair:
            await one.close()
