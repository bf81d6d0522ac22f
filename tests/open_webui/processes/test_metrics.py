"""What an administrator sees of other processes."""

from types import SimpleNamespace

from tests.support.live import Actor


async def test_metrics_say_how_many_are_heard(admin: Actor, there: SimpleNamespace) -> None:
    for client in (admin.client, there.admin.client):
        lines = (await client.get("/metrics")).text.splitlines()
        assert {"oui_peers 1", "oui_bus_up 1"} <= set(lines)
